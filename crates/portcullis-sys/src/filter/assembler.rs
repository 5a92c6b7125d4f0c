//! An assembler for classic BPF that is told the program backwards.
//!
//! Classic BPF only jumps forwards, so whoever begins at the end knows every target before the jump to it. A
//! conditional jump reaches 255 instructions; where a target lies further away, an unconditional jump (which reaches
//! everywhere) is laid beside it as a stepping stone, and used again by later jumps while it is near enough.

use libc::sock_filter;

/// A place in the program that can be jumped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// How a conditional jump compares the accumulator with its constant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    Equal,
    AtLeast,
    AnyBit,
}

impl Test {
    fn code(self) -> u32 {
        match self {
            Test::Equal => libc::BPF_JEQ,
            Test::AtLeast => libc::BPF_JGE,
            Test::AnyBit => libc::BPF_JSET,
        }
    }
}

/// The farthest that a conditional jump reaches, less the stepping stones that may be laid in between.
const NEAR: usize = 250;

/// A program under construction, last instruction first.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    reversed: Vec<sock_filter>,
    /// For each label, where to jump to: its own instruction, or the stepping stone laid last.
    places: Vec<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    target: usize,
    nearest: usize,
}

impl Assembler {
    /// Puts `ret value` before what is there.
    pub(super) fn ret(&mut self, value: u32) -> Label {
        self.plain(libc::BPF_RET | libc::BPF_K, value);
        self.here()
    }

    /// Puts an instruction that goes on to the next one before what is there.
    ///
    /// # Panics
    /// If nothing stands behind it: a program ends with a return.
    pub(super) fn plain(&mut self, code: u32, value: u32) {
        let is_return = code & 7 == libc::BPF_RET;
        assert!(is_return || !self.reversed.is_empty(), "a program ends with a return");
        self.push(code, 0, 0, value);
    }

    /// Puts a jump before what is there: to `then` where the test holds, to `otherwise` where not.
    pub(super) fn branch(&mut self, test: Test, value: u32, then: Label, otherwise: Label) -> Label {
        self.bring_near(then);
        self.bring_near(otherwise);
        let (jt, jf) = (self.offset(then), self.offset(otherwise));
        self.push(libc::BPF_JMP | test.code() | libc::BPF_K, jt, jf, value);
        self.here()
    }

    /// Puts a jump to `target` before what is there, unless it would only jump to the next instruction.
    pub(super) fn go_to(&mut self, target: Label) -> Label {
        if self.places[target.0].target + 1 == self.reversed.len() {
            return target;
        }
        self.jump(target);
        self.here()
    }

    /// A label for the instruction that was put last.
    pub(super) fn here(&mut self) -> Label {
        let last = self.reversed.len() - 1;
        self.places.push(Place { target: last, nearest: last });
        Label(self.places.len() - 1)
    }

    /// The program, first instruction first.
    pub(super) fn finish(mut self) -> Vec<sock_filter> {
        self.reversed.reverse();
        self.reversed
    }

    fn bring_near(&mut self, label: Label) {
        if self.reversed.len() - self.places[label.0].nearest > NEAR {
            self.jump(label);
            self.places[label.0].nearest = self.reversed.len() - 1;
        }
    }

    fn jump(&mut self, label: Label) {
        let distance = self.reversed.len() - self.places[label.0].target - 1;
        let distance = u32::try_from(distance).expect("a program is far shorter than 2^32");
        self.push(libc::BPF_JMP | libc::BPF_JA, 0, 0, distance);
    }

    fn offset(&self, label: Label) -> u8 {
        let distance = self.reversed.len() - self.places[label.0].nearest - 1;
        u8::try_from(distance).expect("brought near before")
    }

    fn push(&mut self, code: u32, jt: u8, jf: u8, k: u32) {
        let code = u16::try_from(code).expect("operation codes have 16 bits");
        self.reversed.push(sock_filter { code, jt, jf, k });
    }
}
