//! GSSAPI's C functions (RFC 2744), found when the program runs: nothing is linked, and no header is needed to build.
#![expect(unsafe_code, reason = "a C library is loaded and called")]

use crate::{Error, Protection, Stage, Step};
use libloading::Library;
use std::ffi::{c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::{Arc, OnceLock};

/// MIT's, by the name that its interface has kept since 2004.
const LIBRARY: &str = "libgssapi_krb5.so.2";

/// `OM_uint32`.
type Word = u32;
/// A pointer to what only the library knows.
type Opaque = *mut c_void;

/// `gss_buffer_desc`.
#[repr(C)]
struct Buffer {
    length: usize,
    value: *mut c_void,
}

/// `gss_OID_desc`.
#[repr(C)]
struct Oid {
    length: Word,
    elements: *const c_void,
}

// SAFETY: both point to constants.
unsafe impl Sync for Oid {}

/// Kerberos 5: 1.2.840.113554.1.2.2 (RFC 4121 section 1).
static KERBEROS: Oid = Oid { length: 9, elements: b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02".as_ptr().cast() };
/// A service at a host: 1.2.840.113554.1.2.1.4 (RFC 2743 section 4.1).
static SERVICE: Oid =
    Oid { length: 10, elements: b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x01\x04".as_ptr().cast() };

const MUTUAL: Word = 2;
const REPLAY: Word = 4;
const SEQUENCE: Word = 8;
const CONFIDENTIAL: Word = 16;
const INTEGRITY: Word = 32;
/// The other side has something to say yet (`GSS_S_CONTINUE_NEEDED`).
const CONTINUE: Word = 1;
/// Calling and routine errors.
const FAILED: Word = 0xffff_0000;
const INDEFINITE: Word = Word::MAX;
/// Status codes of GSSAPI itself, and of the mechanism.
const OF_GSS: c_int = 1;
const OF_MECHANISM: c_int = 2;

type ImportName = unsafe extern "C" fn(*mut Word, *const Buffer, *const Oid, *mut Opaque) -> Word;
type InitContext = unsafe extern "C" fn(
    *mut Word,
    Opaque,
    *mut Opaque,
    Opaque,
    *const Oid,
    Word,
    Word,
    *const c_void,
    *const Buffer,
    *mut *const Oid,
    *mut Buffer,
    *mut Word,
    *mut Word,
) -> Word;
type Wrap =
    unsafe extern "C" fn(*mut Word, Opaque, c_int, Word, *const Buffer, *mut c_int, *mut Buffer) -> Word;
type Unwrap =
    unsafe extern "C" fn(*mut Word, Opaque, *const Buffer, *mut Buffer, *mut c_int, *mut Word) -> Word;
type SizeLimit = unsafe extern "C" fn(*mut Word, Opaque, c_int, Word, Word, *mut Word) -> Word;
type ReleaseBuffer = unsafe extern "C" fn(*mut Word, *mut Buffer) -> Word;
type ReleaseName = unsafe extern "C" fn(*mut Word, *mut Opaque) -> Word;
type DeleteContext = unsafe extern "C" fn(*mut Word, *mut Opaque, *mut Buffer) -> Word;
type DisplayStatus = unsafe extern "C" fn(*mut Word, Word, c_int, *const Oid, *mut Word, *mut Buffer) -> Word;

/// The functions that are used.
struct Functions {
    import_name: ImportName,
    init_context: InitContext,
    wrap: Wrap,
    unwrap: Unwrap,
    size_limit: SizeLimit,
    release_buffer: ReleaseBuffer,
    release_name: ReleaseName,
    delete_context: DeleteContext,
    display_status: DisplayStatus,
    /// Last: what the functions are in.
    _library: Library,
}

fn functions() -> Result<&'static Functions, Error> {
    static LOADED: OnceLock<Result<Functions, Error>> = OnceLock::new();
    let load =
        || Functions::load().map_err(|cause| Error::Library { library: LIBRARY, cause: Arc::new(cause) });
    LOADED.get_or_init(load).as_ref().map_err(Clone::clone)
}

impl Functions {
    fn load() -> Result<Self, libloading::Error> {
        // SAFETY: it is MIT's library of this name, whose initialisers do nothing but set up its own state; the types are those of its
        // header.
        unsafe {
            let library = Library::new(LIBRARY)?;
            Ok(Self {
                import_name: *library.get(b"gss_import_name")?,
                init_context: *library.get(b"gss_init_sec_context")?,
                wrap: *library.get(b"gss_wrap")?,
                unwrap: *library.get(b"gss_unwrap")?,
                size_limit: *library.get(b"gss_wrap_size_limit")?,
                release_buffer: *library.get(b"gss_release_buffer")?,
                release_name: *library.get(b"gss_release_name")?,
                delete_context: *library.get(b"gss_delete_sec_context")?,
                display_status: *library.get(b"gss_display_status")?,
                _library: library,
            })
        }
    }

    /// A buffer of the library's, as bytes of ours.
    fn taken(&self, mut buffer: Buffer) -> Vec<u8> {
        if buffer.value.is_null() {
            return Vec::new();
        }
        // SAFETY: the library says that so many bytes are there, and they are its own until they are released.
        let bytes = unsafe { std::slice::from_raw_parts(buffer.value.cast::<u8>(), buffer.length) }.to_vec();
        let mut minor = 0;
        // SAFETY: the buffer came from the library and is released once.
        unsafe { (self.release_buffer)(&raw mut minor, &raw mut buffer) };
        bytes
    }

    /// What a status means, in the library's words.
    fn words(&self, status: Word, minor: Word) -> String {
        let one = |code: Word, kind: c_int| {
            let (mut ignored, mut more, mut text) = (0, 0, Buffer::empty());
            // SAFETY: all pointers are to values of ours; the text is the library's and is taken.
            unsafe {
                (self.display_status)(
                    &raw mut ignored,
                    code,
                    kind,
                    &raw const KERBEROS,
                    &raw mut more,
                    &raw mut text,
                )
            };
            String::from_utf8_lossy(&self.taken(text)).into_owned()
        };
        format!("{}: {}", one(status, OF_GSS), one(minor, OF_MECHANISM))
    }

    fn checked(&self, function: &'static str, status: Word, minor: Word) -> Result<Word, Error> {
        if status & FAILED == 0 {
            return Ok(status);
        }
        Err(Error::Refused { function, status: (status, minor), words: self.words(status, minor) })
    }
}

impl Buffer {
    fn empty() -> Self {
        Self { length: 0, value: null_mut() }
    }

    /// To be read by the library while the bytes are borrowed.
    fn of(bytes: &[u8]) -> Self {
        Self { length: bytes.len(), value: bytes.as_ptr().cast_mut().cast() }
    }
}

/// A security context with a service.
pub struct Context {
    functions: &'static Functions,
    name: Opaque,
    context: Opaque,
}

// SAFETY: a context of the library's may be used from any thread, by one at a time; it is used through `&mut` alone.
unsafe impl Send for Context {}

impl Context {
    /// A context to be made with a service: `libvirt@host`.
    ///
    /// # Errors
    /// When the library is missing, or does not understand the name.
    pub fn new(service: &str) -> Result<Self, Error> {
        let functions = functions()?;
        let (mut minor, mut name) = (0, null_mut());
        let text = Buffer::of(service.as_bytes());
        // SAFETY: all pointers are to values of ours that outlive the call.
        let status = unsafe {
            (functions.import_name)(&raw mut minor, &raw const text, &raw const SERVICE, &raw mut name)
        };
        functions.checked("gss_import_name", status, minor)?;
        Ok(Self { functions, name, context: null_mut() })
    }

    /// Takes what the service has said, nothing at first. It may ask the key distribution centre, which takes its time.
    ///
    /// # Errors
    /// With the library's words.
    pub fn step(&mut self, said: &[u8]) -> Result<Step, Error> {
        let (mut minor, mut token) = (0, Buffer::empty());
        let said = Buffer::of(said);
        // SAFETY: name and context are the library's; all other pointers are to values of ours that outlive the call. Null stands for
        // the user's own credentials and for no channel.
        let status = unsafe {
            (self.functions.init_context)(
                &raw mut minor,
                null_mut(),
                &raw mut self.context,
                self.name,
                &raw const KERBEROS,
                MUTUAL | REPLAY | SEQUENCE | CONFIDENTIAL | INTEGRITY,
                INDEFINITE,
                null(),
                &raw const said,
                null_mut(),
                &raw mut token,
                null_mut(),
                null_mut(),
            )
        };
        let token = self.functions.taken(token);
        let status = self.functions.checked("gss_init_sec_context", status, minor)?;
        Ok(Step { token, stage: if status & CONTINUE == 0 { Stage::Standing } else { Stage::Begun } })
    }

    /// Bytes as they travel.
    ///
    /// # Errors
    /// With the library's words.
    pub fn wrap(&mut self, bytes: &[u8], protection: Protection) -> Result<Vec<u8>, Error> {
        let private = protection == Protection::Privacy;
        let (mut minor, mut state, mut out) = (0, 0, Buffer::empty());
        let bytes = Buffer::of(bytes);
        // SAFETY: the context is the library's; all other pointers are to values of ours that outlive the call.
        let status = unsafe {
            (self.functions.wrap)(
                &raw mut minor,
                self.context,
                c_int::from(private),
                0,
                &raw const bytes,
                &raw mut state,
                &raw mut out,
            )
        };
        let out = self.functions.taken(out);
        self.functions.checked("gss_wrap", status, minor)?;
        if private && state == 0 { Err(Error::Unencrypted) } else { Ok(out) }
    }

    /// Bytes that have travelled, and how they were protected.
    ///
    /// # Errors
    /// With the library's words: nobody has changed what comes out.
    pub fn unwrap(&mut self, bytes: &[u8]) -> Result<(Vec<u8>, Protection), Error> {
        let (mut minor, mut state, mut quality, mut out) = (0, 0, 0, Buffer::empty());
        let bytes = Buffer::of(bytes);
        // SAFETY: as in `wrap`.
        let status = unsafe {
            (self.functions.unwrap)(
                &raw mut minor,
                self.context,
                &raw const bytes,
                &raw mut out,
                &raw mut state,
                &raw mut quality,
            )
        };
        let out = self.functions.taken(out);
        self.functions.checked("gss_unwrap", status, minor)?;
        Ok((out, if state == 0 { Protection::Integrity } else { Protection::Privacy }))
    }

    /// How many bytes may be encrypted so that no more than `size` come out.
    ///
    /// # Errors
    /// With the library's words.
    pub fn limit(&mut self, size: u32) -> Result<usize, Error> {
        let (mut minor, mut most) = (0, 0);
        // SAFETY: as in `wrap`.
        let status =
            unsafe { (self.functions.size_limit)(&raw mut minor, self.context, 1, 0, size, &raw mut most) };
        self.functions.checked("gss_wrap_size_limit", status, minor)?;
        Ok(most as usize)
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Context")
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: both are the library's, or null, and are given back once.
        unsafe {
            (self.functions.delete_context)(&raw mut minor, &raw mut self.context, null_mut());
            (self.functions.release_name)(&raw mut minor, &raw mut self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With tickets, against a service: `lib/libvirt-client/tests/daemon/kerberos.rs`.
    #[test]
    fn what_the_library_refuses_is_told_in_its_words() {
        let mut context = match Context::new("libvirt@localhost") {
            Ok(context) => context,
            Err(error) => {
                // A host without Kerberos: the error says what is to be installed.
                assert!(matches!(error, Error::Library { library: LIBRARY, .. }), "{error}");
                assert!(error.to_string().contains(LIBRARY), "{error}");
                return;
            }
        };
        // Nobody has made a context yet.
        let refused = [
            context.wrap(b"x", Protection::Privacy).map(drop),
            context.unwrap(b"x").map(drop),
            context.limit(65_536).map(drop),
        ];
        for (error, asked) in refused.into_iter().zip(["gss_wrap", "gss_unwrap", "gss_wrap_size_limit"]) {
            let Err(Error::Refused { function, status: (status, _), words }) = error else {
                panic!("{asked}: {error:?}")
            };
            assert!(function == asked && status & FAILED != 0 && words.len() > 4, "{function}: {words}");
        }
        // No service says this first.
        let error = context.step(b"what is no token").unwrap_err();
        assert!(matches!(error, Error::Refused { function: "gss_init_sec_context", .. }), "{error}");
    }
}
