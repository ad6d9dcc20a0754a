//! Settings of RabbitMQ that must fit one another.

use super::settings::{Sales, Settings};

/// Adds what does not fit. The setting to mend comes first in the list given to `add`.
pub(super) fn rabbitmq(settings: &Settings, add: &mut impl FnMut(&[&str], &str, &str)) {
    let rabbitmq = &settings.rabbitmq;
    if rabbitmq.retries.is_none() {
        let fix = "write up to ten numbers from 1 to 86400000 apart by commas, such as 5000,25000,125000";
        add(&["rabbitmq.retry_ms"], "is no list of milliseconds", fix);
    }
    let Some(url) = rabbitmq.url.text() else {
        if rabbitmq.ca_file.is_some() {
            let fix = "set rabbitmq.url, or remove this";
            add(&["rabbitmq.ca_file", "rabbitmq.url"], "is set, and rabbitmq.url is not", fix);
        }
        return;
    };
    address(url, settings, add);
    if rabbitmq.exchange.len() > 127 {
        add(&["rabbitmq.exchange"], "is longer than 127 bytes", "name it shorter");
    }
    queues(&settings.sales, add);
}

/// The longest name of a queue whose queues of retries have names too.
const QUEUE_BYTES_MAX: usize = 200;

/// Each has one meaning: a queue that is read and written, or read as two things, would make its own messages.
fn queues(sales: &Sales, add: &mut impl FnMut(&[&str], &str, &str)) {
    let queues = [
        ("contracts.sales.created", &sales.created),
        ("contracts.sales.shipped", &sales.shipped),
        ("contracts.sales.delivered", &sales.delivered),
    ];
    for (at, (path, name)) in queues.iter().enumerate() {
        if name.len() > QUEUE_BYTES_MAX {
            add(&[path], "is longer than 200 bytes", "name it shorter");
        }
        let same = queues[..at].iter().find(|(_, other)| other == name && !name.is_empty());
        if let Some((other, _)) = same {
            let fix = "name another, or leave it empty for none";
            add(&[path, other], &format!("is the same as {other}"), fix);
        }
    }
}

#[cfg(feature = "amqp")]
fn address(url: &str, settings: &Settings, add: &mut impl FnMut(&[&str], &str, &str)) {
    let rabbitmq = &settings.rabbitmq;
    let address = match sink_rabbitmq::Address::parse(url) {
        Ok(address) => address,
        Err(error) => {
            let fix = "write amqp://USER:PASSWORD@HOST:PORT/VHOST, with %2f for the vhost /";
            add(&["rabbitmq.url"], &error.to_string(), fix);
            return;
        }
    };
    if rabbitmq.ca_file.is_some() && !address.is_tls() {
        let what = "is set, and rabbitmq.url does not speak TLS";
        add(&["rabbitmq.ca_file", "rabbitmq.url"], what, "begin the URL with amqps://, or remove this");
    }
    if !address.is_tls() && !rabbitmq.insecure && !super::check::is_loopback(address.host()) {
        let what = "leads over a network, where everybody on the way could read and write orders";
        let fix = "begin it with amqps://, or say rabbitmq.insecure = true";
        add(&["rabbitmq.url", "rabbitmq.insecure"], what, fix);
    }
}

#[cfg(not(feature = "amqp"))]
fn address(_: &str, _: &Settings, add: &mut impl FnMut(&[&str], &str, &str)) {
    let fix = "build it with `cargo build --release -p wellorder --features amqp`, or remove this";
    add(&["rabbitmq.url"], "is set, and this program was built without RabbitMQ", fix);
}
