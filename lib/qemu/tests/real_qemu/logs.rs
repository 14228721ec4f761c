//! Logs that go on without anybody who reads them, and are trimmed by whoever comes next.

use super::*;
use qmp::commands::HumanMonitorCommand;
use rustix::fs::{FallocateFlags, fallocate};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

/// Says one number after the other on the serial line, each a line of eight letters: `A` is 0 and `P` is 15.
const COUNTER: &[u8] = &[
    0xfa, // cli
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0x66, 0x31, 0xdb, // xor ebx, ebx
    0x66, 0x43, // inc ebx
    0xb9, 0x08, 0x00, // mov cx, 8
    0x66, 0xc1, 0xc3, 0x04, // rol ebx, 4
    0x88, 0xd8, 0x24, 0x0f, 0x04, b'A', 0xee, // mov al, bl; and al, 15; add al, 'A'; out dx, al
    0xe2, 0xf3, // loop -13
    0xb0, b'\n', 0xee, // mov al, '\n'; out dx, al
    0xeb, 0xe9, // jmp -23
];

/// As much as a log may have before it is trimmed.
const MOST: u64 = 64 << 10;

/// What is kept of one whose head is cut out.
const KEPT: u64 = 4 << 10;

/// The manager that is killed: its guest counts on its console, and QEMU tells of each byte of that on its standard error.
async fn manage(directory: &Path) {
    let disk = boot_disk(directory, COUNTER);
    let (vm, _tasks) = started(spec(directory, Config { disks: vec![disk], ..config() })).await;
    let log = HumanMonitorCommand { command_line: "log trace:serial_write".into(), cpu_index: None };
    assert_eq!(vm.qmp().call(&log).await.unwrap().trim(), "");
    vm.resume().await.unwrap();
    println!("\n{UP}");
    std::future::pending().await
}

const UP: &str = "the machine runs";

/// Waits until a log has grown by so many bytes.
async fn grows(log: &Path, by: u64) {
    let length = || fs::metadata(log).unwrap().len();
    let begin = length();
    let growing = async {
        while length() < begin + by {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, growing).await.unwrap_or_else(|_| panic!("{} does not grow", log.display()));
}

/// The numbers in what was read from the middle of a console's log on: each one more than that before it.
fn numbers(text: &[u8]) -> std::ops::RangeInclusive<u32> {
    let value = |line: &[u8]| {
        assert!(line.len() == 8 && line.iter().all(|byte| (b'A'..=b'P').contains(byte)), "{line:?}");
        line.iter().fold(0, |value, byte| value << 4 | u32::from(byte - b'A'))
    };
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    // The first may have lost its head, and the last is not complete.
    let values: Vec<u32> = lines[1..lines.len() - 1].iter().map(|line| value(line)).collect();
    assert!(values.windows(2).all(|pair| pair[1] == pair[0] + 1), "numbers are lost");
    values[0]..=*values.last().unwrap()
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test starts itself again")]
async fn logs_go_on_without_a_manager_and_lose_nothing_when_the_next_trims_them() {
    const PLACE: &str = "HV_TEST_PLACE";
    let test = "logs::logs_go_on_without_a_manager_and_lose_nothing_when_the_next_trims_them";
    if qemu_missing(test) {
        return;
    }
    if let Some(place) = std::env::var_os(PLACE) {
        return manage(Path::new(&place)).await;
    }
    let directory = scratch();
    let mut manager = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(PLACE, directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(manager.stdout.take().unwrap()).lines().map(Result::unwrap);
    let said: Vec<String> = said.take_while(|line| line != UP).collect();
    manager.kill().unwrap();
    assert!(!manager.wait().unwrap().success(), "it was killed, and has not failed before: {said:?}");
    let record = qemu::Record::load(&directory.path().join("run")).unwrap().unwrap();
    let logs = [&record.console_log, &record.qemu_log];
    for log in logs {
        grows(log, MOST).await;
    }
    let Adoption::Adopted(vm, supervisor) =
        adopt(record.clone(), LONG, Supervision::default()).await.unwrap()
    else {
        panic!("not adopted");
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(supervisor);

    // The head is cut out: what is kept stays where it is, and what comes is behind it.
    let mut heads = Vec::new();
    for log in logs {
        let head = fs::metadata(log).unwrap().len() - KEPT;
        let file = fs::File::options().write(true).open(log).unwrap();
        fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, head).unwrap();
        heads.push(usize::try_from(head).unwrap());
        grows(log, MOST).await;
    }
    vm.pause().await.unwrap();
    let [console, messages] = logs.map(|log| fs::read(log).unwrap());
    let seen = numbers(&console[heads[0]..]);
    assert!(console[..heads[0]].iter().all(|byte| *byte == 0), "it costs no room");
    assert!(!messages[heads[1]..].contains(&0));

    // It is emptied: what comes begins at its start, without a hole before it.
    for log in logs {
        fs::File::options().write(true).open(log).unwrap().set_len(0).unwrap();
    }
    vm.resume().await.unwrap();
    for log in logs {
        grows(log, MOST).await;
    }
    vm.pause().await.unwrap();
    let [console, messages] = logs.map(|log| fs::read(log).unwrap());
    // The number that was being said when it was paused was cut in two.
    assert_eq!(*numbers(&console).start(), seen.end() + 2);
    assert!(!messages.contains(&0));
    // QEMU's last words, too.
    signal(&vm, rustix::process::Signal::TERM);
    assert_eq!(tasks.join_next().await.unwrap().unwrap(), Exit::Gone, "a child of another's");
    let messages = fs::read_to_string(&record.qemu_log).unwrap();
    assert!(messages.contains("terminating on signal 15"), "{}", &messages[messages.len() - 200..]);
}
