//! Just enough of Rust's syntax: which bytes are code, where functions begin and end, what is test code.

/// A source file with comments and literals blanked out.
pub(crate) struct Source {
    /// The same length and lines as the source; comments and the inside of literals are spaces.
    code: String,
    tests: Vec<(usize, usize)>,
}

/// A function and the lines it spans, both counted from 1 and included.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

impl Source {
    pub(crate) fn parse(text: &str) -> Self {
        let code = blank(text);
        let tests = test_spans(&code);
        Self { code, tests }
    }

    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// The line of a byte offset, from 1.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.code.as_bytes()[..offset].iter().filter(|b| **b == b'\n').count() + 1
    }

    /// Whether this offset lies in an item under `#[cfg(test)]`.
    pub(crate) fn is_test(&self, offset: usize) -> bool {
        self.tests.iter().any(|(start, end)| (*start..*end).contains(&offset))
    }

    /// Offsets at which `needle` occurs in code.
    pub(crate) fn find<'a>(&'a self, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.code.match_indices(needle).map(|(offset, _)| offset)
    }

    /// Every function with a body.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        for offset in self.find("fn ") {
            if offset > 0 && is_word(self.code.as_bytes()[offset - 1]) {
                continue;
            }
            let name: String =
                self.code[offset + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some(end) = item_end(&self.code, offset).filter(|end| !name.is_empty() && end.has_body)
            else {
                continue; // a type `fn (…)`, or a declaration without a body
            };
            functions.push(Function { name, first: self.line_of(offset), last: self.line_of(end.offset) });
        }
        functions
    }
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

struct End {
    offset: usize,
    has_body: bool,
}

/// Where the item that starts at `from` ends: at its closing brace, or at a `;` outside of all brackets.
fn item_end(code: &str, from: usize) -> Option<End> {
    let mut depth = 0_usize;
    for (offset, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 && byte == b'}' {
                    return Some(End { offset, has_body: true });
                }
            }
            b';' if depth == 0 => {
                return Some(End { offset, has_body: false });
            }
            _ => {}
        }
    }
    None
}

fn test_spans(code: &str) -> Vec<(usize, usize)> {
    let attribute = "#[cfg(test)]";
    let starts = code.match_indices(attribute).map(|(offset, _)| offset);
    starts
        .filter_map(|start| {
            let mut item = start + attribute.len();
            // Attributes between ours and the item have brackets of their own.
            while code[item..].trim_start().starts_with("#[") {
                item += code[item..].find(']')? + 1;
            }
            item_end(code, item).map(|end| (start, end.offset))
        })
        .collect()
}

/// A comment or literal: what to blank, and where code goes on.
struct Blank {
    start: usize,
    end: usize,
    next: usize,
}

/// Replaces comments and the inside of string and character literals by spaces; newlines stay.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let Some(found) = blank_at(bytes, at) else {
            at += 1;
            continue;
        };
        for byte in &mut out[found.start..found.end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = found.next;
    }
    // Only whole characters were overwritten, by ASCII.
    String::from_utf8(out).unwrap_or_default()
}

/// The comment or literal that begins at `at`.
fn blank_at(bytes: &[u8], at: usize) -> Option<Blank> {
    let literal = |end: usize| Some(Blank { start: at + 1, end, next: end + 1 });
    let comment = |end: usize| Some(Blank { start: at, end, next: end });
    match (bytes[at], bytes.get(at + 1)) {
        (b'/', Some(b'/')) => comment(line_end(bytes, at)),
        (b'/', Some(b'*')) => comment(comment_end(bytes, at)),
        (b'r', Some(b'"' | b'#')) => raw_string(bytes, at),
        (b'"', _) => literal(string_end(bytes, at + 1, b'"')),
        (b'\'', _) if is_char_literal(bytes, at) => literal(string_end(bytes, at + 1, b'\'')),
        _ => None,
    }
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |len| at + len)
}

/// The end of a block comment; they nest.
fn comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        match &bytes[at..(at + 2).min(bytes.len())] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// The offset of the quote that closes a literal whose inside starts at `at`.
fn string_end(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

/// `r"…"` or `r##"…"##` at `at`; None when this `r` is the end of a word, or starts a raw identifier.
fn raw_string(bytes: &[u8], at: usize) -> Option<Blank> {
    let before = at.checked_sub(1).map(|index| bytes[index]);
    if before.is_some_and(|byte| is_word(byte) && byte != b'b' && byte != b'c') {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    let start = at + 2 + hashes;
    if bytes.get(start - 1) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let len = bytes[start..].windows(close.len()).position(|window| window == close)?;
    Some(Blank { start, end: start + len, next: start + len + close.len() })
}

/// Whether the quote at `at` opens a character and not a lifetime.
fn is_char_literal(bytes: &[u8], at: usize) -> bool {
    match bytes.get(at + 1) {
        Some(b'\\') => true,
        Some(first) if *first < 0x80 => bytes.get(at + 2) == Some(&b'\''),
        Some(_) => bytes[at + 2..].iter().take(4).any(|b| *b == b'\''),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let text = "a // \"x\"\n/* b /* c */ d */ e\nlet s = \"q\\\"{ // no\"; f\nlet r = r#\"{\"}\"#; g\nlet c = '{'; let l: &'static str; let q = '\\''; h \"x\" i";
        let code = Source::parse(text).code().to_owned();
        assert_eq!(code.len(), text.len());
        assert_eq!(code.lines().count(), text.lines().count());
        for kept in ["a ", " e", "; f", "; g", "'static str", "; h", " i"] {
            assert!(code.contains(kept), "{kept:?} in {code}");
        }
        for gone in ["x", "b", "d", "{", "no"] {
            assert!(!code.contains(gone), "{gone:?} in {code}");
        }
    }

    #[test]
    fn functions_span_their_bodies() {
        let text = "trait T {\n  fn declared(&self, n: [u8; 3]);\n}\nfn one() -> &'static str {\n  \"}\" // }\n}\nfn two(f: fn (u8)) where u8: Copy {\n  if true {\n  }\n}\n";
        let functions = Source::parse(text).functions();
        let spans: Vec<_> = functions.iter().map(|f| (f.name.as_str(), f.first, f.last)).collect();
        assert_eq!(spans, [("one", 4, 6), ("two", 7, 10)]);
    }

    #[test]
    fn items_under_cfg_test_are_test_code() {
        let text = "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests { fn b() {} }\nfn c() {}";
        let source = Source::parse(text);
        let is_test = |name: &str| source.is_test(text.find(name).unwrap());
        assert_eq!((is_test("fn a"), is_test("fn b"), is_test("fn c")), (false, true, false));
    }
}
