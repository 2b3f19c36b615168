//! Any text as a `board.toml`: a description, or an error that names one of its lines.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use lowbit_host::board::ports::{Port, UsbId};
use lowbit_host::board::{BoardSpec, RegistryError};

fuzz_target!(|text: &str| {
    match BoardSpec::parse(Path::new("none/board.toml"), text) {
        Ok(board) => {
            let usb = board
                .serial
                .as_ref()
                .and_then(|serial| serial.usb.first().copied());
            let port = |usb: Option<UsbId>| Port {
                name: "none".into(),
                usb,
                product: None,
            };
            assert_eq!(board.may_be_on(&port(usb)), usb.is_some());
            // What is shown is read again.
            if let Some(usb) = usb {
                assert_eq!(usb.to_string().parse(), Ok(usb));
            }
        }
        Err(RegistryError::Parse { line, message, .. }) => {
            assert!((1..=text.split('\n').count()).contains(&line), "{line}");
            assert!(!message.is_empty());
        }
        Err(error) => panic!("{error}"),
    }
});
