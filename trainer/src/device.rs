//! The devices a run can use.
