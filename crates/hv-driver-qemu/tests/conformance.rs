//! The conformance suite on QEMU with the demo guest, translated (TCG), so that it runs on every host.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers beside the tests fail and report alike"
)]

mod common;

use async_trait::async_trait;
use common::{Place, guest_is_up};
use hv_driver::conformance::{self, Bench};
use hv_driver::{Assignment, Driver};
use std::{sync::Arc, time::Duration};

struct QemuBench(Place);

#[async_trait]
impl Bench for QemuBench {
    async fn driver(&self) -> Arc<dyn Driver> {
        Arc::new(self.0.driver())
    }

    async fn assignment(&self) -> Assignment {
        self.0.demo()
    }

    async fn guest_is_up(&self, driver: &dyn Driver, assignment: &Assignment) {
        guest_is_up(driver, assignment).await;
    }

    fn patience(&self) -> Duration {
        common::LONG
    }
}

#[tokio::test]
async fn conforms() {
    let Some(place) = Place::with_demo("conforms") else { return };
    let bench = QemuBench(place);
    let ran = conformance::run(&bench).await;
    assert_eq!(ran.len(), 11, "{ran:?}");
    bench.0.assert_nothing_left();
}
