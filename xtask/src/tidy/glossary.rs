//! One word, one meaning: words that this project does not use, and what it says instead.

use super::source::{Source, is_word};
use super::{Finding, Text};

enum Where {
    /// Names in Rust and SQL; comments and literals are free.
    Code,
    /// Markdown, comments and messages too.
    Everywhere,
}

struct Word {
    /// As its parts: `dead letter` is also `DeadLetter` and `dead_letter`.
    not: &'static str,
    say: &'static str,
    because: &'static str,
    scope: Where,
    /// Folders in which the word has another, right meaning.
    except: &'static [&'static str],
}

const TABLE: &[Word] = &[
    Word {
        not: "struct job",
        say: "work",
        because: "what someone must do is a row of work with a due time",
        scope: Where::Code,
        except: &[],
    },
    Word {
        not: "table job",
        say: "work",
        because: "what someone must do is a row of work with a due time",
        scope: Where::Code,
        except: &[],
    },
    Word {
        not: "job queue",
        say: "work",
        because: "what someone must do is a row of work with a due time",
        scope: Where::Code,
        except: &[],
    },
    Word {
        not: "claim job",
        say: "work",
        because: "what someone must do is a row of work with a due time",
        scope: Where::Code,
        except: &[],
    },
    Word {
        not: "queue item",
        say: "work",
        because: "there is no queue, there is work that is due",
        scope: Where::Everywhere,
        except: &[],
    },
    Word {
        not: "dead letter",
        say: "parked",
        because: "a dead letter is the parked message of a broker, nothing else",
        scope: Where::Everywhere,
        except: &["crates/sink-rabbitmq", "crates/sink-kafka", "docs/guides/rabbitmq.md"],
    },
    Word {
        not: "dlq",
        say: "parked",
        because: "only a broker has a dead letter queue",
        scope: Where::Code,
        except: &["crates/sink-rabbitmq", "crates/sink-kafka"],
    },
    Word {
        not: "outbox",
        say: "journal, follower",
        because: "whatever goes out follows the journal",
        scope: Where::Code,
        except: &[],
    },
    Word {
        not: "event log",
        say: "journal",
        because: "the journal has one name",
        scope: Where::Everywhere,
        except: &[],
    },
    Word {
        not: "event store",
        say: "journal",
        because: "a store is a marketplace shop",
        scope: Where::Everywhere,
        except: &[],
    },
    Word {
        not: "visibility timeout",
        say: "lease",
        because: "the time-boxed right to work is a lease",
        scope: Where::Everywhere,
        except: &[],
    },
    Word {
        not: "redeliver",
        say: "retry, redrive",
        because: "a retry is ours, a redrive is an operator's",
        scope: Where::Code,
        except: &["crates/sink-rabbitmq", "crates/sink-kafka"],
    },
    Word {
        not: "unpark",
        say: "redrive",
        because: "parked work is redriven",
        scope: Where::Everywhere,
        except: &[],
    },
];

/// What a type that keeps data must not be called: `Store` is a marketplace shop.
const STORE_OF: &[&str] =
    &["order", "event", "work", "journal", "sqlite", "postgres", "pg", "memory", "data", "key", "cursor"];

pub(super) fn check(text: &Text) -> Vec<Finding> {
    let rust = text.has_extension("rs");
    let sql = text.has_extension("sql");
    if text.defines_rules() || !(rust || sql || text.has_extension("md")) {
        return Vec::new();
    }
    let code = if rust { Source::parse(&text.text).code().to_owned() } else { text.text.clone() };
    let mut findings = Vec::new();
    for (index, (line, code)) in text.text.lines().zip(code.lines()).enumerate() {
        let mut here = TABLE.iter().filter(|word| !word.except.iter().any(|dir| text.path.starts_with(dir)));
        let found = here.find(|word| match word.scope {
            Where::Code => (rust || sql) && says(code, word.not),
            Where::Everywhere => !explains(line) && says(line, word.not),
        });
        if let Some(word) = found {
            let note = format!("\"{}\": say {}: {}", word.not, word.say, word.because);
            findings.push(Finding::new(&text.path, index + 1, "glossary", note));
        }
        if rust && let Some(name) = store_for_storage(code) {
            let note = format!("{name}: say Storage: a store is a marketplace shop");
            findings.push(Finding::new(&text.path, index + 1, "glossary", note));
        }
    }
    findings
}

/// A line of the glossary itself, or one that speaks of a broker's own thing.
fn explains(line: &str) -> bool {
    line.contains("broker") || line.contains("never \"") || line.contains("not \"")
}

/// Words in lower case, from identifiers in any style as well as from prose; punctuation is a word that no term has.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for c in line.chars() {
        let punctuation = !c.is_alphanumeric() && !matches!(c, '_' | ' ' | '-');
        if !c.is_alphanumeric() || (c.is_uppercase() && after_lower) {
            words.push(String::new());
        }
        if punctuation {
            words.push(".".to_owned());
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
        after_lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether the words of `term` follow one another in `line`; the last one also in the plural.
fn says(line: &str, term: &str) -> bool {
    let term: Vec<&str> = term.split(' ').collect();
    words(line).windows(term.len()).any(|window| {
        let (last, first) = (term.len() - 1, &term[..term.len() - 1]);
        let plural = window[last].strip_suffix('s').unwrap_or(&window[last]);
        first.iter().zip(window).all(|(want, word)| want == word)
            && (window[last] == term[last] || plural == term[last])
    })
}

/// The name in `trait …Store`, or in a type such as `OrderStore`.
fn store_for_storage(code: &str) -> Option<String> {
    for (at, _) in code.match_indices("Store") {
        let bytes = code.as_bytes();
        if bytes.get(at + 5).is_some_and(|b| is_word(*b)) {
            continue;
        }
        let start = (0..at).rev().find(|i| !is_word(bytes[*i])).map_or(0, |i| i + 1);
        let prefix = code[start..at].to_lowercase();
        let is_trait = code[..start].trim_end().ends_with("trait");
        if is_trait || STORE_OF.contains(&prefix.as_str()) {
            return Some(code[start..at + 5].to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    fn found(path: &str, content: &str) -> usize {
        check(&text(path, content)).len()
    }

    #[test]
    fn a_word_is_found_in_every_style() {
        for content in
            ["struct DeadLetter;", "let dead_letters = 1;", "// a dead letter", "const DEAD_LETTER: u8 = 1;"]
        {
            assert_eq!(found("crates/a/src/lib.rs", content), 1, "{content}");
        }
        assert_eq!(found("README.md", "Orders in the dead-letter list."), 1);
        assert_eq!(found("crates/sink-kafka/src/lib.rs", "struct DeadLetter;"), 0);
        assert_eq!(found("README.md", "Dead letter = parked message of a broker"), 0);
    }

    #[test]
    fn work_is_not_called_a_job_but_a_redrive_of_many_is_one() {
        assert_eq!(found("crates/a/src/lib.rs", "struct JobQueue;"), 1);
        assert_eq!(found("crates/a/migrations/0001.sql", "CREATE TABLE jobs (id)"), 1);
        assert_eq!(found("crates/a/src/lib.rs", "// the job of this module\nlet jobber = 1;"), 0);
        assert_eq!(found("README.md", "Its job is to keep orders."), 0);
    }

    #[test]
    fn persistence_is_storage_and_a_store_is_a_shop() {
        assert_eq!(found("crates/a/src/lib.rs", "pub trait Store {"), 1);
        assert_eq!(found("crates/a/src/lib.rs", "pub trait EventSourceStore {"), 1);
        assert_eq!(found("crates/a/src/lib.rs", "let s: Arc<OrderStore>;"), 1);
        assert_eq!(found("crates/a/src/lib.rs", "pub struct Store { name: String }"), 0);
        assert_eq!(found("crates/a/src/lib.rs", "impl Storage for SqliteStorage {}"), 0);
    }
}
