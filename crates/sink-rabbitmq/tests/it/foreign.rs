//! Another program, in another language, at the other end: Debian's `amqp-tools`.

use crate::rig::{Other, Running, ToQueue, event, family, options, unique, url};
use order_core::ids::OrderId;
use order_core::inbox::Outcome;
use order_core::ports::Sink;
use sink_rabbitmq::RabbitSink;
use tokio::process::Command;
use uuid::Uuid;

async fn run(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(["--url", &url()]).args(arguments);
    let output = command.output().await.unwrap_or_else(|error| {
        panic!("cannot start {program}: {error}; install it: apt-get install -y amqp-tools")
    });
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn another_program_reads_what_the_sink_writes() {
    let (other, encode) = (Other::new().await, ToQueue::new());
    let queue = encode.exchange.clone();
    let sink = RabbitSink::new(options(), Box::new(encode));
    sink.deliver(&[event(OrderId(Uuid::new_v4()), 1, "{}")]).await.unwrap();
    assert_eq!(run("amqp-get", &["-q", &queue]).await, "{\"version\":1}");
    other.delete(&[queue]).await;
}

#[tokio::test]
async fn another_program_writes_what_the_consumer_reads() {
    let (other, queue) = (Other::new().await, unique("shipped"));
    // The queue is the other's: durable, and nothing else said.
    run("amqp-declare-queue", &["-d", "-q", &queue]).await;
    run("amqp-publish", &["-r", &queue, "-b", "{\"order_id\":\"o\"}"]).await;
    let mut running = Running::start(options(), &queue, |_, message| {
        assert_eq!(message.message_id, None, "existing senders give none");
        Outcome::Done
    });
    assert_eq!(running.next().await, ("{\"order_id\":\"o\"}".to_owned(), 0));
    // And the other way round: what is there by us is no obstacle to the other.
    running.stop().await;
    run("amqp-declare-queue", &["-d", "-q", &queue]).await;
    other.delete(&family(&queue)).await;
}
