//! What can go wrong, by what the user can do about it.

use std::{io, path::PathBuf};

/// The result of anything that touches the world outside.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error a user can act on. Its text says what is wrong and where; [`Error::help`] says what to
/// do. A programming error (a shape that does not fit inside the model) panics instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder that is missing, malformed or not of the kind that is needed.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        help: String,
    },
    /// A tensor in a weights file that is missing, or has the wrong shape or dtype.
    #[error("{}: tensor `{tensor}`: {problem}", path.display())]
    Tensor {
        /// The file or folder that was searched.
        path: PathBuf,
        /// The key.
        tensor: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        help: String,
    },
    /// The operating system refused to read or write.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done, as a verb phrase: `read the caption`.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A config value that turns out wrong once the model, the dataset or the device is known.
    #[error("`{key}`: {problem}")]
    Config {
        /// The key, with its table: `model.dtype`.
        key: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        help: String,
    },
    /// A device that is not there or cannot do what is asked.
    #[error("device {device}: {problem}")]
    Device {
        /// The device, as the user names it: `cuda:1`.
        device: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        help: String,
    },
    /// The loss or a gradient is not a finite number: training has diverged.
    #[error("step {step}: the {what} is not a finite number (samples: {})", samples.join(", "))]
    NonFinite {
        /// The optimizer step, from 1.
        step: u64,
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// The images in the batch.
        samples: Vec<String>,
    },
}

impl Error {
    /// A [`Error::File`].
    pub fn file(
        path: impl Into<PathBuf>,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::File {
            path: path.into(),
            problem: problem.into(),
            help: help.into(),
        }
    }

    /// A [`Error::Io`], for `map_err`.
    pub fn io(path: impl Into<PathBuf>, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            path,
            action,
            source,
        }
    }

    /// What the user can do about it.
    pub fn help(&self) -> String {
        match self {
            Self::File { help, .. }
            | Self::Tensor { help, .. }
            | Self::Config { help, .. }
            | Self::Device { help, .. } => help.clone(),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "check the path".to_owned(),
                io::ErrorKind::PermissionDenied => {
                    "give yourself the permission, or choose another folder".to_owned()
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "free some space on that disk and run again: what is already written is kept"
                        .to_owned()
                }
                _ => "look at the file and the disk it is on".to_owned(),
            },
            Self::NonFinite { .. } => {
                "lower `learning_rate`, or use `dtype = \"bfloat16\"` instead of float16; \
                 LoRA files saved before this step are intact"
                    .to_owned()
            }
        }
    }
}
