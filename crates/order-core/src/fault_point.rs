//! Named places where a crash test kills the process, and planted bugs that it must catch. Both exist only in a build
//! with the feature `killpoints`, which no release has; otherwise everything here compiles to nothing.

#[cfg(feature = "killpoints")]
mod armed {
    use std::sync::OnceLock;

    /// What the binary installs at start.
    pub struct Hooks {
        /// Called at each passage of a named point; may not return.
        pub passed: fn(&'static str),
        /// The planted bug that is switched on, if any.
        pub planted: Option<String>,
    }

    static HOOKS: OnceLock<Hooks> = OnceLock::new();

    /// Installs the hooks; the first call wins.
    pub fn install(hooks: Hooks) {
        drop(HOOKS.set(hooks));
    }

    /// The process passes the point `name` (`area.moment`).
    pub fn pass(name: &'static str) {
        if let Some(hooks) = HOOKS.get() {
            (hooks.passed)(name);
        }
    }

    /// Whether the planted bug `name` is switched on.
    pub fn planted(name: &str) -> bool {
        HOOKS.get().is_some_and(|hooks| hooks.planted.as_deref() == Some(name))
    }
}

#[cfg(feature = "killpoints")]
pub use armed::{Hooks, install, pass, planted};

/// The process passes the point `name`: nothing in this build.
#[cfg(not(feature = "killpoints"))]
#[inline(always)]
pub fn pass(_name: &'static str) {}

/// Whether a planted bug is switched on: never in this build.
#[cfg(not(feature = "killpoints"))]
#[inline(always)]
pub fn planted(_name: &str) -> bool {
    false
}
