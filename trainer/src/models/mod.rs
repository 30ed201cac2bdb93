//! The models, named by their checkpoint keys.
