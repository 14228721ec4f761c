//! Which call of a connection it was that failed.

use crate::streams::Daemon;
use libvirt_client::protocol::remote::{ConnectGetHostname, DomainOpenConsole, DomainOpenConsoleArgs};
use libvirt_client::protocol::session::ServerSession;
use libvirt_client::protocol::types;
use libvirt_client::transport::{Privacy, Stream};
use libvirt_client::{ErrorKind, Execution, Options};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn an_error_has_the_serial_of_its_call() {
    let (ours, theirs) = tokio::io::duplex(65_536);
    let options = Options { keepalive: None, ..Options::default() };
    let (connection, driver) = libvirt_client::connection(Stream::new(ours, Privacy::Private), options);
    super::run(driver);
    let mut daemon = Daemon { session: ServerSession::default(), stream: theirs };
    let start = || connection.start::<ConnectGetHostname>(&(), Vec::new());
    let (garbled, refused, unanswered) = (start(), start(), start());
    let calls = [daemon.call().await, daemon.call().await, daemon.call().await];
    let refusal = types::Error { message: Some("no".into()), ..Default::default() };
    daemon.session.reply_encoded(calls[0], b"\0\0\0\x09", Vec::new()).unwrap();
    daemon.session.refuse(calls[1], &refusal).unwrap();
    daemon.flush().await;
    let errors = [
        garbled.await.unwrap().result().map(drop).unwrap_err(),
        refused.await.map(drop).unwrap_err(),
        unanswered.within(Some(Duration::from_secs(1))).await.map(drop).unwrap_err(),
    ];
    for (error, call) in errors.iter().zip(calls) {
        assert_eq!(error.serial(), Some(call.serial()), "{error:?}");
    }
    assert!(matches!(errors[0].kind(), ErrorKind::Protocol(_)), "{:?}", errors[0]);
    assert!(matches!(errors[1].kind(), ErrorKind::Libvirt(_)), "{:?}", errors[1]);
    assert!(matches!(errors[2].kind(), ErrorKind::Timeout), "{:?}", errors[2]);
    // A stream goes under the serial of the call that has opened it.
    let args = DomainOpenConsoleArgs::default();
    let (opened, call) = tokio::join!(connection.open::<DomainOpenConsole>(&args), daemon.opened());
    let mut stream = opened.unwrap().1;
    daemon.session.stream_break(call, &refusal).unwrap();
    daemon.flush().await;
    let error = stream.receive().await.unwrap_err();
    assert_eq!(error.serial(), Some(call.serial()), "{error:?}");
    assert!(!calls.map(|call| call.serial()).contains(&call.serial()));
    // What never became a call has none; what is under way when the connection ends has its own.
    let error = connection.call::<DomainOpenConsole>(&args).await.unwrap_err();
    assert_eq!((error.serial(), error.execution()), (None, Execution::No), "{error:?}");
    let under_way = start();
    let call = daemon.call().await;
    drop(daemon);
    let error = under_way.await.unwrap_err();
    assert_eq!((error.serial(), error.execution()), (Some(call.serial()), Execution::Possible), "{error:?}");
    let error = start().await.unwrap_err();
    assert_eq!((error.serial(), error.execution()), (None, Execution::No), "{error:?}");
}
