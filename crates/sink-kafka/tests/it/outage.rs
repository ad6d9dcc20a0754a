//! Brokers that are not there, and options that cannot be used.

use crate::rig::event;
use order_core::ids::OrderId;
use order_core::ports::Sink;
use sink_kafka::{CloudEvents, KafkaSink, Options, Sasl, SaslMechanism, Security};
use std::net::TcpListener;
use uuid::Uuid;

fn encode() -> Box<CloudEvents> {
    Box::new(CloudEvents::new("orders", Uuid::nil()))
}

#[tokio::test]
async fn brokers_that_are_not_there_are_named_long_before_the_time_out() {
    // Bound and let go: nobody listens there.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut options = Options::plaintext(&address.to_string());
    options.delivery_timeout = std::time::Duration::from_secs(3_600);
    let sink = KafkaSink::new(options, encode()).unwrap();
    for _ in 0..2 {
        let fault = sink.deliver(&[event(OrderId(Uuid::new_v4()), 1, "{}")]).await.unwrap_err();
        assert!(fault.to_string().contains("Connection refused"), "{fault}");
        assert!(fault.to_string().contains(&address.to_string()), "{fault}");
    }
}

#[test]
fn options_that_cannot_be_used_are_refused_before_anything_is_sent() {
    let mut tls = Options::plaintext("127.0.0.1:1");
    tls.security = Security::Tls { ca_file: None, identity: None };
    let mut login = Options::plaintext("127.0.0.1:1");
    login.sasl = Some(Sasl {
        mechanism: SaslMechanism::ScramSha512,
        username: "wellorder".to_owned(),
        password: "hidden".to_owned(),
    });
    assert!(!format!("{login:?}").contains("hidden"));
    if !cfg!(feature = "tls") {
        for options in [tls, login] {
            let refused = KafkaSink::new(options, encode()).err().unwrap().to_string();
            assert!(refused.contains("--features kafka-tls"), "{refused}");
        }
    }
    let mut hasty = Options::plaintext("127.0.0.1:1");
    hasty.delivery_timeout = std::time::Duration::MAX;
    assert!(KafkaSink::new(hasty, encode()).is_err());
}
