//! Whether a door has opened: a connection to the port behind it comes about.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// One try; a shut door drops the SYN, and a second one follows after a second (RFC 6298 §2).
const TRY: Duration = Duration::from_millis(100);

/// Between a refusal and the next try.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a port counts as shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    /// Nothing answers: the door drops, or another packet filter does.
    Silent,
    /// The host answers that nothing listens there.
    Refused,
}

/// Waits, and says how it came out.
///
/// # Errors
/// It stayed shut; what that may mean.
pub fn tell(door: SocketAddr, patience: Duration) -> Result<String, String> {
    match wait(door, patience) {
        Ok(after) => Ok(format!("{door} is open, after {} ms", after.as_millis())),
        Err(Shut::Silent) => Err(format!(
            "{door} is still shut: nothing answers there\n  the knock may have been wrong or late, or another packet \
             filter is in the way; on the host, portcullis doors tells how far it came"
        )),
        Err(Shut::Refused) => {
            Err(format!("{door} is refused: the host answers, and no service listens at that port"))
        }
    }
}

/// Tries `port` until it opens, for as long as `patience`.
///
/// # Errors
/// It did not, and how it looked in the end.
pub fn wait(port: SocketAddr, patience: Duration) -> Result<Duration, Shut> {
    let start = Instant::now();
    loop {
        let shut = match TcpStream::connect_timeout(&port, TRY) {
            Ok(_) => return Ok(start.elapsed()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                thread::sleep(PAUSE);
                Shut::Refused
            }
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Shut::Silent,
            // No route, for one: the next try need not wait, but must not spin.
            Err(_) => {
                thread::sleep(PAUSE);
                Shut::Silent
            }
        };
        if start.elapsed() >= patience {
            return Err(shut);
        }
    }
}
