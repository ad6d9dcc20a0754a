//! Just enough of PromQL to find out which metrics and labels a query uses. What it does not know fails the test.

use std::iter::Peekable;
use std::str::Chars;

/// One metric in a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) name: String,
    /// (label, operator, text) as it stands in braces.
    pub(crate) matchers: Vec<(String, String, String)>,
}

/// What a query uses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) selectors: Vec<Selector>,
    /// Labels that it groups or joins by.
    pub(crate) labels: Vec<String>,
}

const FUNCTIONS: &[&str] = &[
    "rate",
    "increase",
    "delta",
    "deriv",
    "histogram_quantile",
    "sum",
    "max",
    "min",
    "avg",
    "count",
    "time",
    "label_values",
];
const GROUPING: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
const OPERATORS: &[&str] = &["and", "or", "unless", "bool", "offset"];

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

/// What `query` uses.
#[track_caller]
pub(crate) fn used(query: &str) -> Used {
    let mut used = Used::default();
    let mut tokens = tokens(query).into_iter().peekable();
    while let Some(token) = tokens.next() {
        let Token::Word(word) = token else { continue };
        let calls = tokens.peek() == Some(&Token::Sign('('));
        if GROUPING.contains(&word.as_str()) {
            used.labels.extend(list(&mut tokens, query));
        } else if FUNCTIONS.contains(&word.as_str()) {
            if word == "label_values" {
                used.selectors.push(label_values(&mut tokens, &mut used.labels, query));
            }
        } else if !OPERATORS.contains(&word.as_str()) {
            assert!(!calls, "{word} is no function that is known: {query}");
            let matchers = matchers(&mut tokens, query);
            used.selectors.push(Selector { name: word, matchers });
        }
    }
    used
}

/// `label_values(selector, label)` of Grafana.
fn label_values(
    tokens: &mut Peekable<impl Iterator<Item = Token>>,
    labels: &mut Vec<String>,
    query: &str,
) -> Selector {
    assert_eq!(tokens.next(), Some(Token::Sign('(')), "{query}");
    let Some(Token::Word(name)) = tokens.next() else { panic!("no metric: {query}") };
    let matchers = matchers(tokens, query);
    assert_eq!(tokens.next(), Some(Token::Sign(',')), "{query}");
    let Some(Token::Word(label)) = tokens.next() else { panic!("no label: {query}") };
    labels.push(label);
    Selector { name, matchers }
}

/// Names in brackets, apart by commas; none where no bracket is.
fn list(tokens: &mut Peekable<impl Iterator<Item = Token>>, query: &str) -> Vec<String> {
    assert_eq!(tokens.next(), Some(Token::Sign('(')), "{query}");
    let mut names = Vec::new();
    loop {
        match tokens.next() {
            Some(Token::Word(name)) => names.push(name),
            Some(Token::Sign(',')) => {}
            Some(Token::Sign(')')) => return names,
            other => panic!("{other:?} in a list of labels: {query}"),
        }
    }
}

fn matchers(
    tokens: &mut Peekable<impl Iterator<Item = Token>>,
    query: &str,
) -> Vec<(String, String, String)> {
    let mut matchers = Vec::new();
    if tokens.peek() != Some(&Token::Sign('{')) {
        return matchers;
    }
    tokens.next();
    loop {
        match tokens.next() {
            Some(Token::Word(label)) => {
                let mut operator = String::new();
                while let Some(Token::Sign(sign)) = tokens.peek() {
                    operator.push(*sign);
                    tokens.next();
                }
                let Some(Token::Text(text)) = tokens.next() else { panic!("no text after {label}: {query}") };
                matchers.push((label, operator, text));
            }
            Some(Token::Sign(',')) => {}
            Some(Token::Sign('}')) => return matchers,
            other => panic!("{other:?} in braces: {query}"),
        }
    }
}

fn tokens(query: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = query.chars().peekable();
    while let Some(first) = chars.next() {
        match first {
            '"' => {
                let text = take_while(&mut chars, |char| char != '"');
                chars.next();
                tokens.push(Token::Text(text));
            }
            // A range or a step: a span of time, or a variable for one.
            '[' => drop(take_while(&mut chars, |char| char != ']')),
            _ if first.is_ascii_digit() => {
                drop(take_while(&mut chars, |char| char.is_ascii_alphanumeric() || char == '.'))
            }
            _ if first.is_ascii_alphabetic() || first == '_' => {
                let rest =
                    take_while(&mut chars, |char| char.is_ascii_alphanumeric() || char == '_' || char == ':');
                tokens.push(Token::Word(format!("{first}{rest}")));
            }
            _ if first.is_whitespace() || first == ']' => {}
            _ => tokens.push(Token::Sign(first)),
        }
    }
    tokens
}

fn take_while(chars: &mut Peekable<Chars<'_>>, fits: impl Fn(char) -> bool) -> String {
    let mut taken = String::new();
    while let Some(char) = chars.next_if(|char| fits(*char)) {
        taken.push(char);
    }
    taken
}

#[test]
fn metrics_and_labels_of_a_query_are_found() {
    let query = r#"sum by (a, le) (rate(x_total{b="1", c=~"$d|e"}[5m])) / on (f) group_left () y > 0.8e3 and z offset 5m"#;
    let found = used(query);
    let names: Vec<&str> = found.selectors.iter().map(|selector| selector.name.as_str()).collect();
    assert_eq!(names, ["x_total", "y", "z"]);
    let matchers = [("b", "=", "1"), ("c", "=~", "$d|e")];
    let matchers = matchers.map(|(label, sign, text)| (label.to_owned(), sign.to_owned(), text.to_owned()));
    assert_eq!(found.selectors[0].matchers, matchers);
    assert_eq!(found.labels, ["a", "le", "f"]);
    assert_eq!(used(r#"label_values(x{job="a"}, instance)"#).labels, ["instance"]);
}
