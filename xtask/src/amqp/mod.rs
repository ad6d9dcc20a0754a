//! A blocking client of AMQP 0-9-1, of our own: what was published is read by a program that shares nothing with the
//! publisher. One channel, one thing at a time.

mod wire;

use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::http::bad;
use wire::{BODY, Frame, HEADER, HEARTBEAT, METHOD, Reader, Writer};

const CONNECTION: u16 = 10;
const CHANNEL: u16 = 20;
const EXCHANGE: u16 = 40;
const QUEUE: u16 = 50;
const BASIC: u16 = 60;
const CONFIRM: u16 = 85;
const DURABLE: u8 = 2;
const FRAME_MAX: u32 = 131_072;

/// A message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) body: Vec<u8>,
    pub(crate) message_id: Option<String>,
    /// Those that are texts.
    pub(crate) headers: BTreeMap<String, String>,
}

/// A connection; of no more use after any error.
pub(crate) struct Connection {
    input: BufReader<TcpStream>,
    output: BufWriter<TcpStream>,
}

impl Connection {
    /// Connects as `guest` to the vhost `/`, for publishing with confirms. `patience` bounds every read.
    pub(crate) fn open(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut connection =
            Self { input: BufReader::new(stream.try_clone()?), output: BufWriter::new(stream) };
        connection.output.write_all(b"AMQP\x00\x00\x09\x01")?;
        connection.output.flush()?;
        connection.expect(CONNECTION, 10)?;
        let start_ok = Writer::method(CONNECTION, 11).empty_table().text("PLAIN");
        connection.send(0, start_ok.long_text("\0guest\0guest").text("en_US"))?;
        connection.expect(CONNECTION, 30)?;
        // No heartbeats: a server that was killed closes its connections.
        connection.send(0, Writer::method(CONNECTION, 31).short(1).long(FRAME_MAX).short(0))?;
        connection.send(0, Writer::method(CONNECTION, 40).text("/").text("").octet(0))?;
        connection.expect(CONNECTION, 41)?;
        connection.call(Writer::method(CHANNEL, 10).text(""), CHANNEL, 11)?;
        connection.call(Writer::method(CONFIRM, 10).octet(0), CONFIRM, 11)?;
        Ok(connection)
    }

    /// A durable topic exchange.
    pub(crate) fn declare_exchange(&mut self, name: &str) -> io::Result<()> {
        let declare = Writer::method(EXCHANGE, 10).short(0).text(name).text("topic");
        self.call(declare.octet(DURABLE).empty_table(), EXCHANGE, 11).map(drop)
    }

    /// A durable queue without arguments; returns how many messages wait in it.
    pub(crate) fn declare_queue(&mut self, name: &str) -> io::Result<u32> {
        let declare = Writer::method(QUEUE, 10).short(0).text(name).octet(DURABLE).empty_table();
        let declared = self.call(declare, QUEUE, 11)?;
        let mut reader = Reader(&declared);
        reader.text()?;
        reader.long()
    }

    pub(crate) fn bind(&mut self, queue: &str, exchange: &str, key: &str) -> io::Result<()> {
        let bind = Writer::method(QUEUE, 20).short(0).text(queue).text(exchange).text(key);
        self.call(bind.octet(0).empty_table(), QUEUE, 21).map(drop)
    }

    /// Puts a persistent message into a queue; returns once the server has confirmed it.
    pub(crate) fn publish(&mut self, queue: &str, message_id: Option<&str>, body: &[u8]) -> io::Result<()> {
        self.send(1, Writer::method(BASIC, 40).short(0).text("").text(queue).octet(0))?;
        let flags = 1 << 15 | 1 << 12 | u16::from(message_id.is_some()) << 7;
        let header = Writer::method(BASIC, 0).long_long(body.len() as u64).short(flags);
        let mut header = header.text("application/json").octet(2);
        if let Some(id) = message_id {
            header = header.text(id);
        }
        Frame { kind: HEADER, channel: 1, payload: header.done() }.write(&mut self.output)?;
        Frame { kind: BODY, channel: 1, payload: body.to_vec() }.write(&mut self.output)?;
        self.output.flush()?;
        self.expect(BASIC, 80).map(drop)
    }

    /// The next message of a queue, with what acknowledges it; `None` when there is none.
    pub(crate) fn get(&mut self, queue: &str) -> io::Result<Option<(u64, Message)>> {
        self.send(1, Writer::method(BASIC, 70).short(0).text(queue).octet(0))?;
        let (class, method, arguments) = self.method()?;
        match (class, method) {
            (BASIC, 72) => Ok(None),
            (BASIC, 71) => {
                let tag = Reader(&arguments).long_long()?;
                Ok(Some((tag, self.content()?)))
            }
            _ => Err(bad(&format!("method {class}.{method} in answer to a get"))),
        }
    }

    pub(crate) fn acknowledge(&mut self, tag: u64) -> io::Result<()> {
        self.send(1, Writer::method(BASIC, 80).long_long(tag).octet(0))
    }

    /// Takes `count` messages out of a queue, which holds so many. Nothing else can be done with the connection afterwards.
    pub(crate) fn take(mut self, queue: &str, count: u32) -> io::Result<Vec<Message>> {
        const NO_ACKNOWLEDGEMENTS: u8 = 2;
        let consume = Writer::method(BASIC, 20).short(0).text(queue).text("");
        self.send(1, consume.octet(NO_ACKNOWLEDGEMENTS).empty_table())?;
        self.expect(BASIC, 21)?;
        let mut messages = Vec::new();
        for _ in 0..count {
            self.expect(BASIC, 60)?;
            messages.push(self.content()?);
        }
        Ok(messages)
    }

    fn send(&mut self, channel: u16, method: Writer) -> io::Result<()> {
        Frame { kind: METHOD, channel, payload: method.done() }.write(&mut self.output)?;
        self.output.flush()
    }

    fn call(&mut self, method: Writer, class: u16, answer: u16) -> io::Result<Vec<u8>> {
        self.send(1, method)?;
        self.expect(class, answer)
    }

    /// The arguments of the next method, which must be this one.
    fn expect(&mut self, class: u16, method: u16) -> io::Result<Vec<u8>> {
        match self.method()? {
            (of, is, arguments) if (of, is) == (class, method) => Ok(arguments),
            (CONNECTION, 50, arguments) | (CHANNEL, 40, arguments) => {
                let mut reader = Reader(&arguments);
                let (code, text) = (reader.short()?, reader.text()?);
                Err(bad(&format!("the server closes: {code} {text}")))
            }
            (of, is, _) => Err(bad(&format!("method {of}.{is} where {class}.{method} is due"))),
        }
    }

    fn method(&mut self) -> io::Result<(u16, u16, Vec<u8>)> {
        let frame = self.frame()?;
        if frame.kind != METHOD {
            return Err(bad("a frame that is no method"));
        }
        let mut reader = Reader(&frame.payload);
        let (class, method) = (reader.short()?, reader.short()?);
        Ok((class, method, reader.0.to_vec()))
    }

    fn content(&mut self) -> io::Result<Message> {
        let (len, message_id, headers) = wire::header(&self.frame()?.payload)?;
        let mut body = Vec::new();
        while (body.len() as u64) < len {
            body.extend(self.frame()?.payload);
        }
        Ok(Message { body, message_id, headers })
    }

    fn frame(&mut self) -> io::Result<Frame> {
        loop {
            let frame = Frame::read(&mut self.input)?;
            if frame.kind != HEARTBEAT && frame.channel <= 1 {
                return Ok(frame);
            }
        }
    }
}
