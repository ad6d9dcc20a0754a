//! Text in the form of Prometheus.

use order_core::meter::Distribution;
use std::fmt::{Display, Write};

/// A page under way. Labels here need no escaping: names of followers, sources and states are plain.
pub(crate) struct Page<'t>(pub(crate) &'t mut String);

impl Page<'_> {
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// A family of one sample without labels.
    pub(crate) fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.line(format_args!("{name}"));
        for (index, (label, text)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            self.line(format_args!("{open}{label}=\"{text}\""));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.line(format_args!("{close} {value}\n"));
    }

    /// A histogram without labels.
    pub(crate) fn histogram(&mut self, name: &str, help: &str, of: &Distribution) {
        self.family(name, "histogram", help);
        for (bound, count) in &of.buckets {
            self.line(format_args!("{name}_bucket{{le=\"{bound}\"}} {count}\n"));
        }
        let Distribution { count, sum, .. } = of;
        self.line(format_args!(
            "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}\n"
        ));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a `String` cannot fail.
        let written = self.0.write_fmt(text);
        debug_assert!(written.is_ok());
    }
}
