//! The query library.
