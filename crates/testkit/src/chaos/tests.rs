use super::session::Protocol;
use super::*;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

/// The names of the frames of `bytes`, which are found byte by byte as well as all at once.
fn names(protocol: Protocol, sent: &[(Side, &[u8])]) -> Vec<String> {
    let (at_once, session) = (protocol.session(server(), 4), protocol.session(server(), 4));
    let (mut names, mut all) = (Vec::new(), Vec::new());
    for (side, bytes) in sent {
        let mut waiting = Vec::new();
        for byte in *bytes {
            waiting.push(*byte);
            if let Some((len, name)) = locked(&session).frame(*side, &mut waiting) {
                assert_eq!(len, waiting.len(), "{name}");
                names.push(name);
                waiting.clear();
            }
        }
        let (mut bytes, mut at) = (bytes.to_vec(), 0);
        while let Some((len, name)) = locked(&at_once).frame(*side, &mut bytes[at..]) {
            at += len;
            all.push(name);
        }
    }
    assert_eq!(names, all);
    names
}

fn server() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

#[test]
fn postgres_is_read_from_its_beginning_on() {
    let seen = names(
        Protocol::Postgres,
        &[
            (Side::Client, &[0, 0, 0, 8, 4, 210, 22, 47]),
            (Side::Server, b"N"),
            (Side::Client, b"\0\0\0\x0d\0\x03\0\0user\0"),
            (Side::Server, b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I"),
            (Side::Client, b"P\0\0\0\x13s1\0SELECT 1\0\0\0\0"),
            (Side::Client, b"B\0\0\0\x10\0s1\0\0\0\0\0\0\0\0\0Q\0\0\0\x0bCOMMIT\0"),
            (Side::Server, b"C\0\0\0\x0bCOMMIT\0Z\0\0\0\x05I"),
        ],
    );
    let expected =
        ["startup", "answer", "startup", "R", "Z", "SELECT 1", "SELECT 1", "COMMIT", "COMMIT", "Z"];
    assert_eq!(seen, expected);
}

#[test]
fn statements_belong_to_their_transaction() {
    let session = Protocol::Postgres.session(server(), 4);
    let mut session = locked(&session);
    session.frame(Side::Client, &mut b"\0\0\0\x0d\0\x03\0\0user\0".to_vec());
    for (statement, belongs) in [("LISTEN x", 1), ("BEGIN", 1), ("COMMIT", 2), ("BEGIN", 1)] {
        let mut frame = b"Q\0\0\0".to_vec();
        frame.push(u8::try_from(statement.len()).unwrap() + 5);
        frame.extend_from_slice(statement.as_bytes());
        frame.push(0);
        assert_eq!(session.frame(Side::Client, &mut frame).unwrap().1, statement);
        assert_eq!(session.of().len(), belongs, "{statement}");
    }
    assert!(session.has_said("LISTEN") && !session.has_said("UPDATE"));
}

#[test]
fn amqp_kafka_and_redis_are_read() {
    let seen = names(
        Protocol::Amqp,
        &[
            (Side::Client, b"AMQP\0\0\x09\x01"),
            (Side::Server, b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x50\0\0\0\0\0\0\0\x01\0\xce"),
            (Side::Client, b"\x08\0\0\0\0\0\0\xce"),
        ],
    );
    assert_eq!(seen, ["beginning", "basic.ack", "heartbeat"]);
    let seen = names(
        Protocol::Kafka,
        &[
            (Side::Client, b"\0\0\0\x08\0\0\0\x09\0\0\0\x05"),
            (Side::Client, b"\0\0\0\x08\0\x03\0\x09\0\0\0\x06"),
            (Side::Server, b"\0\0\0\x04\0\0\0\x05"),
        ],
    );
    assert_eq!(seen, ["Produce", "Metadata", "Produce"]);
    let seen = names(
        Protocol::Redis,
        &[
            (Side::Client, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nping\r\n"),
            (Side::Server, b"$-1\r\n"),
            (Side::Server, b">2\r\n+x\r\n:1\r\n"),
            (Side::Server, b"+PONG\r\n"),
        ],
    );
    assert_eq!(seen, ["GET", "PING", "GET", "push", "PING"]);
}

#[test]
fn a_broker_of_kafka_is_found_on_this_way() {
    let session = Protocol::Kafka.session(server(), 4);
    let mut session = locked(&session);
    session.frame(Side::Client, &mut b"\0\0\0\x08\0\x03\0\x09\0\0\0\x06".to_vec());
    let mut answer = b"\0\0\0\x13\0\0\0\x06\0\x09127.0.0.1\0\0\0\x01".to_vec();
    session.frame(Side::Server, &mut answer);
    assert_eq!(answer, b"\0\0\0\x13\0\0\0\x06\0\x09127.0.0.1\0\0\0\x04");
}

/// A server that gives back what it is sent, and a way to it.
async fn echo(mark: usize) -> Chaos {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await
            });
        }
    });
    Chaos::before(address, Protocol::Bytes(mark)).await
}

/// What comes back before the connection ends, or as much as was sent.
async fn sent(stream: &mut TcpStream, text: &str) -> String {
    drop(stream.write_all(text.as_bytes()).await);
    let mut back = Vec::new();
    while back.len() < text.len() && stream.read_buf(&mut back).await.is_ok_and(|read| read > 0) {}
    String::from_utf8(back).unwrap()
}

#[tokio::test]
async fn a_way_cuts_at_a_mark_and_lets_nobody_in() {
    let way = echo(4).await;
    way.harm(1, |frame| frame.is(Side::Server, "mark").then_some(Harm::CutBehind));
    let connect = async || TcpStream::connect(way.address()).await.unwrap();
    assert_eq!(sent(&mut connect().await, "abcdef").await, "abcd");
    way.harmed(1).await;
    let mut stream = connect().await;
    assert_eq!(sent(&mut stream, "abcdef").await, "abcdef");
    way.close();
    assert_eq!(sent(&mut connect().await, "abc").await, "");
    assert_eq!(sent(&mut stream, "abc").await, "abc", "who is in stays in");
    assert_eq!(way.cut(), 1);
    assert_eq!(sent(&mut stream, "abc").await, "");
    way.open();
    assert_eq!(sent(&mut connect().await, "abc").await, "abc");
}

#[tokio::test(start_paused = true)]
async fn a_way_that_hangs_keeps_everything_until_it_is_released() {
    let way = echo(3).await;
    let mut stream = TcpStream::connect(way.address()).await.unwrap();
    for sides in [&[Side::Client][..], &[Side::Server], &[Side::Client, Side::Server]] {
        way.hang(sides);
        let hung = tokio::time::timeout(Duration::from_secs(60), sent(&mut stream, "abc")).await;
        assert!(hung.is_err(), "{sides:?}");
        way.release();
        let mut back = [0; 3];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"abc", "{sides:?}");
    }
    way.harm(1, |frame| (frame.from == Side::Client).then_some(Harm::Swallow));
    stream.write_all(b"lost").await.unwrap();
    way.harmed(1).await;
    assert_eq!(sent(&mut stream, "kept").await, "kept");
}
