//! `machined-image-reader`: reads what the operating system in a raw image says of itself, without mounting it.
//!
//! Standard input is the image, standard output takes the answer. It maps the image, drops what it has, forbids itself all
//! system calls but read, write, exit and exit_group, and only then looks at what is in the image. See `lib.rs`.

fn main() {
    image_reader::main()
}
