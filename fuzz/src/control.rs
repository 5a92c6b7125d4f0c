//! What a client says on the control socket.

use portcullis::control::protocol::Request;

/// Reads the input as one line of a client; what is understood says the same again.
pub fn control_request(input: &[u8]) {
    if let Ok(request) = Request::parse(input) {
        let line = request.to_line();
        let body = line.strip_suffix(b"\n").expect("a line ends");
        assert_eq!(Request::parse(body).as_ref(), Ok(&request));
        // Whether it asks for something sensible is another question; it must only not panic.
        drop(request.command());
    }
}
