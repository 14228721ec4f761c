//! The conformance suite on the fake, and the fake's faults.

use async_trait::async_trait;
use hv_core::instance::{Epoch, InstanceSpec};
use hv_core::{InstanceId, Timestamp};
use hv_driver::conformance::{self, Bench};
use hv_driver::fake::{FakeDriver, Fault};
use hv_driver::{Assignment, Driver, DriverError, DriverErrorKind, Guest, Handle, StartMode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

struct FakeBench {
    driver: FakeDriver,
    next: AtomicU64,
}

fn bench() -> FakeBench {
    FakeBench { driver: FakeDriver::new(|| Timestamp(1)), next: AtomicU64::new(1) }
}

fn assignment(number: u64) -> Assignment {
    let id: InstanceId = format!("018f4e2a-0000-7000-8000-{number:012}").parse().expect("a uid");
    Assignment {
        handle: Handle { id, epoch: Epoch(1) },
        name: format!("guest-{number}"),
        project: "default".into(),
        spec: InstanceSpec::default(),
    }
}

#[async_trait]
impl Bench for FakeBench {
    async fn driver(&self) -> Arc<dyn Driver> {
        Arc::new(self.driver.clone())
    }

    async fn assignment(&self) -> Assignment {
        assignment(self.next.fetch_add(1, Ordering::Relaxed))
    }

    async fn guest_is_up(&self, _: &dyn Driver, _: &Assignment) {}
}

#[tokio::test]
async fn conforms() {
    let ran = conformance::run(&bench()).await;
    assert_eq!(ran.len(), 11, "{ran:?}");
}

#[tokio::test]
async fn a_fault_hits_the_next_call_only() {
    let driver = bench().driver;
    let assignment = assignment(1);
    driver.prepare(&assignment).await.unwrap();
    driver.inject(
        "start",
        None,
        Fault::Fail(DriverError::new(DriverErrorKind::Conflict, "start", "port 2222 is in use")),
    );
    let error = driver.start(&assignment, StartMode::Running).await.unwrap_err();
    assert_eq!(error.to_string(), "port 2222 is in use");
    driver.start(&assignment, StartMode::Running).await.unwrap();
    assert_eq!(driver.calls("start", assignment.handle.id), 2);
}

#[tokio::test]
async fn a_blocked_call_delays_no_other_instance() {
    let driver = bench().driver;
    let (stuck, free) = (assignment(1), assignment(2));
    let gate = Arc::new(Notify::new());
    driver.inject("prepare", Some(stuck.handle.id), Fault::Block(gate.clone()));
    let waiting = driver.prepare(&stuck);
    tokio::pin!(waiting);
    assert!(futures::poll!(&mut waiting).is_pending());
    driver.prepare(&free).await.unwrap();
    gate.notify_one();
    waiting.await.unwrap();
    assert_eq!(driver.observe(stuck.handle).await.unwrap().guest, Guest::Absent);
}
