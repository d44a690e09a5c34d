//! Conformance bodies shared by the tests.
