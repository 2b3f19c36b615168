//! A board that is a process of this computer, an emulator or the service itself: its line is the
//! process's standard input and output.

use std::fs::TryLockError;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::board::{BoardSpec, Qemu};

use super::{Transport, TransportError, receive_bytes};

/// Bytes of error output that are kept.
const KEPT_OUTPUT: usize = 4096;
/// An emulator that is just ending still holds its flash.
const LOCK_TIME: Duration = Duration::from_secs(1);
/// How long a process that has closed its output may take to end.
const EXIT_TIME: Duration = Duration::from_secs(2);

/// A running process. It ends with this value.
#[derive(Debug)]
pub struct BoardProcess {
    description: String,
    child: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    errors: Arc<Mutex<Vec<u8>>>,
    /// Keeps the emulated flash to ourselves.
    _lock: Option<std::fs::File>,
}

impl BoardProcess {
    /// Starts `firmware`. Its flash is a file in `state_directory`, which is made if it does not
    /// exist; whatever the board has written to it survives, however the process ends.
    ///
    /// # Errors
    /// If the board cannot run on this computer, the process cannot be started, or the flash is in
    /// use.
    pub fn start(
        board: &BoardSpec,
        firmware: &Path,
        state_directory: &Path,
    ) -> Result<Self, TransportError> {
        fs_err::create_dir_all(state_directory)?;
        let (command, description, lock) = match (&board.qemu, &board.process) {
            (Some(qemu), _) => (
                emulator(qemu, firmware),
                format!("the emulated `{}`", board.name),
                Some(lock_flash(&board.name, state_directory)?),
            ),
            (None, Some(process)) => {
                let mut command = Command::new(firmware);
                command.args(&process.arguments);
                // It locks its flash itself.
                (command, format!("`{}` on this computer", board.name), None)
            }
            (None, None) => {
                let board = board.name.clone();
                return Err(TransportError::NotEmulated { board });
            }
        };
        Self::spawn(command, description, state_directory, lock)
    }

    fn spawn(
        mut command: Command,
        description: String,
        directory: &Path,
        lock: Option<std::fs::File>,
    ) -> Result<Self, TransportError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| start_error(&program, source))?;
        tracing::debug!(program, pid = child.id(), "started");
        let missing_pipe = || start_error(&program, ErrorKind::BrokenPipe.into());
        let input = child.stdin.take().ok_or_else(missing_pipe)?;
        let output = child.stdout.take().ok_or_else(missing_pipe)?;
        let errors = child.stderr.take().ok_or_else(missing_pipe)?;
        Ok(Self {
            description,
            child,
            input,
            output: forward(output),
            errors: keep_end(errors),
            _lock: lock,
        })
    }

    /// Id of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn closed(&mut self) -> TransportError {
        let deadline = Instant::now() + EXIT_TIME;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status.to_string(),
                Ok(None) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(10));
                }
                Ok(None) => break "output closed".to_owned(),
                Err(error) => break error.to_string(),
            }
        };
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let words = String::from_utf8_lossy(&errors);
        let words = words.trim();
        let reason = if words.is_empty() {
            status
        } else {
            format!("{status}: {words}")
        };
        let what = self.describe();
        TransportError::Closed { what, reason }
    }
}

impl Drop for BoardProcess {
    fn drop(&mut self) {
        // Either fails only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Transport for BoardProcess {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        let sent = self
            .input
            .write_all(bytes)
            .and_then(|()| self.input.flush());
        sent.map_err(|_| self.closed())
    }

    fn receive(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, TransportError> {
        receive_bytes(&self.output, timeout).map_err(|_| self.closed())
    }

    fn describe(&self) -> String {
        self.description.clone()
    }
}

fn start_error(program: &str, source: std::io::Error) -> TransportError {
    let program = program.to_owned();
    match source.kind() {
        ErrorKind::NotFound => TransportError::NoEmulator { program },
        _ => TransportError::Start { program, source },
    }
}

/// QEMU with the serial port on its standard input and output.
fn emulator(qemu: &Qemu, firmware: &Path) -> Command {
    let mut command = Command::new(&qemu.program);
    command
        .args(&qemu.arguments)
        .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
        .args(["-semihosting-config", "enable=on,target=native", "-kernel"])
        .arg(firmware);
    command
}

/// Makes the file of the emulated flash and locks it.
fn lock_flash(board: &str, directory: &Path) -> Result<std::fs::File, TransportError> {
    let path = directory.join(format!("{board}.flash"));
    let file = fs_err::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)?
        .into_parts()
        .0;
    let deadline = Instant::now() + LOCK_TIME;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => return Err(TransportError::Busy { path }),
            Err(TryLockError::Error(error)) => return Err(TransportError::State(error)),
        }
    }
}

/// Sends whatever `output` says through a channel, until it ends.
fn forward(mut output: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Keeps the last bytes of what `output` says.
fn keep_end(mut output: impl Read + Send + 'static) -> Arc<Mutex<Vec<u8>>> {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&kept);
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(&buffer[..count]);
            let surplus = kept.len().saturating_sub(KEPT_OUTPUT);
            kept.drain(..surplus);
        }
    });
    kept
}
