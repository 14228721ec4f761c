//! The driver contract, its fake and its conformance suite.
