//! Traces: which request a piece of work goes back to. A [`TraceContext`] comes with a request (or is made for it),
//! lies beside the order's work and events while they wait, and goes out with every call that they cause. [`Tracer`]
//! makes the spans in between.
//!
//! The context of whoever asks is the one thing that is ambient here: every layer between an edge and a lane would only
//! hand it on.

mod tracer;

pub use tracer::{Attribute, Begun, Recorded, SPANS_WAIT_MAX, Span, SpanName, Tracer, Value};

use std::fmt;

/// Bytes of a context where it is kept: trace id, span id, flags.
pub const BYTES: usize = 25;

/// The flags that are known: sampled, and random trace id (W3C Trace Context Level 2 §3.2.2.5). Others are cleared.
const FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// A place in a trace: the trace, the span in it, and whether it is recorded. W3C Trace Context §3.2.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

impl TraceContext {
    /// Reads the value of the header `traceparent`, strictly: `None` for anything that W3C Trace Context §3.2 does not
    /// allow. Of a version above 00 what version 00 knows is read.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let version = hex::<1>(bytes.get(..2)?)?[0];
        let rest_fits = match version {
            0x00 => bytes.len() == 55,
            0xff => false,
            _ => bytes.len() == 55 || bytes.get(55) == Some(&b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|&at| bytes.get(at) == Some(&b'-'));
        if !rest_fits || !dashes {
            return None;
        }
        let flags = hex::<1>(bytes.get(53..55)?)?[0];
        // What a later version means by its other flags is not known.
        let flags = flags & if version == 0 { FLAGS } else { SAMPLED };
        Self { trace_id: hex(bytes.get(3..35)?)?, span_id: hex(bytes.get(36..52)?)?, flags }.valid()
    }

    /// As it is kept.
    pub fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..16].copy_from_slice(&self.trace_id);
        bytes[16..24].copy_from_slice(&self.span_id);
        bytes[24] = self.flags;
        bytes
    }

    /// Reads back what was kept; `None` when it is no context.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
        trace_id.copy_from_slice(&bytes[..16]);
        span_id.copy_from_slice(&bytes[16..24]);
        Self { trace_id, span_id, flags: bytes[24] & FLAGS }.valid()
    }

    /// All zeros name nothing (§3.2.2.3, §3.2.2.4).
    fn valid(self) -> Option<Self> {
        (self.trace_id != [0; 16] && self.span_id != [0; 8]).then_some(self)
    }

    /// The trace.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The span within it.
    pub fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// Its flags, as in the header.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The id of the trace as logs show it: 32 hexadecimal digits.
    pub fn trace_id_hex(&self) -> impl fmt::Display + use<> {
        Hex(self.trace_id)
    }
}

/// The value of the header `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", Hex(self.trace_id), Hex(self.span_id), self.flags)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct Hex<const N: usize>([u8; N]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Reads `2 N` hexadecimal digits, which must be lower case.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    (digits.len() == 2 * N).then_some(bytes)
}

tokio::task_local! {
    static CURRENT: Option<TraceContext>;
}

/// The place in a trace that the present task works at, if [`within`] has said so. A task that is spawned begins without.
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(|context| *context).ok().flatten()
}

/// Runs `future` at this place in a trace.
pub async fn within<F: Future>(context: Option<TraceContext>, future: F) -> F::Output {
    CURRENT.scope(context, future).await
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_reads_back_as_it_was_written() {
        let context = TraceContext::parse(EXAMPLE).unwrap();
        assert_eq!(context.to_string(), EXAMPLE);
        assert!(context.is_sampled());
        assert_eq!(context.trace_id_hex().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(TraceContext::from_bytes(&context.to_bytes()), Some(context));
        for bytes in [&[0_u8; BYTES][..], &[1; BYTES - 1], &[1; BYTES + 1], &[]] {
            assert_eq!(TraceContext::from_bytes(bytes), None);
        }
    }

    #[test]
    fn flags_that_are_not_known_are_cleared() {
        let read = |flags: &str| {
            TraceContext::parse(&format!("{}{flags}", &EXAMPLE[..53])).map(|context| context.to_string())
        };
        for (flags, kept) in [("00", "00"), ("02", "02"), ("03", "03"), ("ff", "03"), ("fc", "00")] {
            assert_eq!(read(flags).unwrap()[53..], *kept);
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = EXAMPLE.replacen("00", "cc", 1);
        for text in [later.clone(), format!("{later}-"), format!("{later}-what-is-new")] {
            assert_eq!(
                TraceContext::parse(&text).map(|context| context.to_string()).as_deref(),
                Some(EXAMPLE)
            );
        }
        assert_eq!(TraceContext::parse(&format!("{later}.new")), None);
    }

    #[test]
    fn what_the_standard_does_not_allow_is_no_context() {
        for text in [
            "",
            "00",
            "00-",
            "not a traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-010",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067AA0BA902B7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0X",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b-01",
            "+0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }

    #[test]
    fn whoever_runs_within_a_trace_finds_it_and_nobody_else() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            assert_eq!(current(), None);
            let context = TraceContext::parse(EXAMPLE);
            within(context, async {
                assert_eq!(current(), context);
                let other = tokio::spawn(async { current() });
                assert_eq!(other.await.unwrap(), None);
            })
            .await;
            assert_eq!(current(), None);
        });
    }
}
