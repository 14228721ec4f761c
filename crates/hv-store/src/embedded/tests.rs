//! Tests that need the inside.
