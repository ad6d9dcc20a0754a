//! One batch of commands as one transaction. The core decides (`order_core::decide`); here rows are loaded and written.
