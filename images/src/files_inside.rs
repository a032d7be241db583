//! The files of an image that say what is in it.

/// The files as they are in the image: hostname(5), machine-id(5), machine-info(5), os-release(5). `None`: there is no
/// such file, or none that can be read.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// `/etc/hostname`.
    pub hostname: Option<Vec<u8>>,
    /// `/etc/machine-id`.
    pub machine_id: Option<Vec<u8>>,
    /// `/etc/machine-info`.
    pub machine_info: Option<Vec<u8>>,
    /// `/etc/os-release`, or else `/usr/lib/os-release`.
    pub os_release: Option<Vec<u8>>,
}
