#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vhost_user_fuzz::codec(bytes));
