//! Layers, origins and messages, without a process environment.
