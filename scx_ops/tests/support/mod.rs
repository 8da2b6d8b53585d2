//! A real ring and a BPF program that fills it, for tests and benchmarks. The program is assembled
//! here, so that no test of this crate needs a BPF compiler.

#![allow(dead_code, reason = "each test uses its part")]

use std::ffi::{CStr, CString};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libbpf_sys::bpf_insn;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;
use scx_ops::ring::Produced;

/// Bytes of each record.
pub const RECORD: usize = 64;

/// The beginning of each record; the rest is zero or garbage.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// Number of the attempt.
    pub seq: u64,
    /// CPU of the producer.
    pub cpu: u32,
    /// Always [`KIND`].
    pub kind: u32,
}
// SAFETY: any bits are a `Head`.
unsafe impl plain::Plain for Head {}

/// The kind of every record.
pub const KIND: u32 = 1;

/// A new ring map of `size` bytes, with `flags` (`BPF_F_*`).
pub fn ring_map(size: u32, flags: u32) -> io::Result<OwnedFd> {
    map(libbpf_sys::BPF_MAP_TYPE_RINGBUF, (0, 0, size), flags)
}

/// A new map of a `bpf_map_type` with sizes of key, value and number of entries.
pub fn map(kind: u32, (key, value, entries): (u32, u32, u32), flags: u32) -> io::Result<OwnedFd> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _,
        map_flags: flags,
        ..Default::default()
    };
    // SAFETY: the name and the options live through the call.
    owned(unsafe {
        libbpf_sys::bpf_map_create(kind, c"takt_test".as_ptr(), key, value, entries, &options)
    })
}

/// Takes ownership of a descriptor that libbpf returned, or of its error.
fn owned(fd: i32) -> io::Result<OwnedFd> {
    match fd {
        0.. => {
            // SAFETY: libbpf has just made it for us.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        }
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

/// How a program fills the ring.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Attempts per run.
    pub burst: i32,
    /// Turns of an empty loop between reservation and commit: how long a record stays BUSY.
    pub busy_turns: i32,
    /// Turns of an empty loop after each commit.
    pub pause_turns: i32,
    /// Discard every record whose number is one less than a multiple of 8.
    pub discards: bool,
    /// `BPF_RB_*` flags of the commit.
    pub flags: i32,
}

/// What the program keeps between runs, in its context.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
struct Context {
    seq: u64,
    emitted: u64,
    failed: u64,
}

/// A producer: a loaded program and its counters.
#[derive(Debug)]
pub struct Producer {
    program: OwnedFd,
    context: Context,
}

impl Producer {
    /// Loads a program that fills `ring`.
    pub fn new(ring: BorrowedFd<'_>, shape: Shape) -> io::Result<Self> {
        let instructions = assemble(ring.as_raw_fd(), shape);
        // libbpf asks for a log only if the kernel refuses the program.
        let mut log = vec![0_u8; 64 << 10];
        let mut options = libbpf_sys::bpf_prog_load_opts {
            sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as _,
            prog_flags: libbpf_sys::BPF_F_SLEEPABLE,
            log_size: log.len() as u32,
            log_buf: log.as_mut_ptr().cast(),
            ..Default::default()
        };
        // SAFETY: names, instructions, options and log live through the call.
        let program = owned(unsafe {
            libbpf_sys::bpf_prog_load(
                libbpf_sys::BPF_PROG_TYPE_SYSCALL,
                c"takt_test".as_ptr(),
                c"GPL".as_ptr(),
                instructions.as_ptr(),
                instructions.len() as _,
                &mut options,
            )
        });
        let program = program.map_err(|error| {
            let log = CStr::from_bytes_until_nul(&log)
                .map(CString::from)
                .unwrap_or_default();
            io::Error::new(error.kind(), format!("{error}: {}", log.to_string_lossy()))
        })?;
        Ok(Self {
            program,
            context: Context::default(),
        })
    }

    /// Runs the program once, on the calling thread.
    pub fn run(&mut self) -> io::Result<()> {
        let mut options = libbpf_sys::bpf_test_run_opts {
            sz: size_of::<libbpf_sys::bpf_test_run_opts>() as _,
            ctx_in: (&raw mut self.context).cast(),
            ctx_size_in: size_of::<Context>() as u32,
            ..Default::default()
        };
        let program = self.program.as_fd().as_raw_fd();
        // SAFETY: the kernel reads and writes `context`, of the size given, during the call.
        match unsafe { libbpf_sys::bpf_prog_test_run_opts(program, &mut options) } {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }

    /// What the program has counted so far.
    pub fn produced(&self) -> Produced {
        Produced {
            emitted: self.context.emitted,
            reserve_failed: self.context.failed,
        }
    }
}

// Opcodes and helpers of include/uapi/linux/bpf.h. R6 holds the context, R7 the attempts left,
// R8 the record's number, R9 the record.
const LD_IMM64: u8 = 0x18;
const LDX_DW: u8 = 0x79;
const STX_DW: u8 = 0x7b;
const STX_W: u8 = 0x63;
const ST_W: u8 = 0x62;
const MOV_K: u8 = 0xb7;
const MOV_X: u8 = 0xbf;
const ADD_K: u8 = 0x07;
const AND_K: u8 = 0x57;
const JMP: u8 = 0x05;
const JEQ_K: u8 = 0x15;
const JNE_K: u8 = 0x55;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const GET_SMP_PROCESSOR_ID: i32 = 8;
const RINGBUF_RESERVE: i32 = 131;
const RINGBUF_SUBMIT: i32 = 132;
const RINGBUF_DISCARD: i32 = 133;
const PSEUDO_MAP_FD: u8 = 1;

/// Instructions so far.
#[derive(Default)]
struct Code(Vec<bpf_insn>);

impl Code {
    fn op(&mut self, code: u8, (dst, src): (u8, u8), off: i16, imm: i32) {
        let mut instruction = bpf_insn {
            code,
            off,
            imm,
            ..Default::default()
        };
        instruction.set_dst_reg(dst);
        instruction.set_src_reg(src);
        self.0.push(instruction);
    }

    /// Adds one to the word at `offset` of the context; R1 is its old value.
    fn count(&mut self, offset: i16) {
        self.op(LDX_DW, (1, 6), offset, 0);
        self.op(MOV_X, (2, 1), 0, 0);
        self.op(ADD_K, (2, 0), 0, 1);
        self.op(STX_DW, (6, 2), offset, 0);
    }

    /// Passes time.
    fn idle(&mut self, turns: i32) {
        if turns > 0 {
            self.op(MOV_K, (1, 0), 0, turns);
            self.op(ADD_K, (1, 0), 0, -1);
            self.op(JNE_K, (1, 0), -2, 0);
        }
    }

    /// Points the jump at `from` to the next instruction.
    fn land(&mut self, from: usize) {
        self.0[from].off = (self.0.len() - from - 1) as i16;
    }

    /// A jump to be landed later.
    fn jump(&mut self, code: u8, dst: u8, imm: i32) -> usize {
        self.op(code, (dst, 0), 0, imm);
        self.0.len() - 1
    }

    /// R9 = reserve(ring, RECORD).
    fn reserve(&mut self, ring: i32) {
        self.op(LD_IMM64, (1, PSEUDO_MAP_FD), 0, ring);
        self.op(0, (0, 0), 0, 0);
        self.op(MOV_K, (2, 0), 0, RECORD as i32);
        self.op(MOV_K, (3, 0), 0, 0);
        self.op(CALL, (0, 0), 0, RINGBUF_RESERVE);
        self.op(MOV_X, (9, 0), 0, 0);
    }

    /// Writes a `Head` to R9.
    fn fill(&mut self) {
        self.op(STX_DW, (9, 8), 0, 0);
        self.op(CALL, (0, 0), 0, GET_SMP_PROCESSOR_ID);
        self.op(STX_W, (9, 0), 8, 0);
        self.op(ST_W, (9, 0), 12, KIND as i32);
    }

    /// Submits or discards R9.
    fn commit(&mut self, shape: Shape) {
        self.op(MOV_X, (1, 9), 0, 0);
        self.op(MOV_K, (2, 0), 0, shape.flags);
        if shape.discards {
            self.op(AND_K, (8, 0), 0, 7);
            let submit = self.jump(JNE_K, 8, 7);
            self.op(CALL, (0, 0), 0, RINGBUF_DISCARD);
            let done = self.jump(JMP, 0, 0);
            self.land(submit);
            self.op(CALL, (0, 0), 0, RINGBUF_SUBMIT);
            self.land(done);
        } else {
            self.op(CALL, (0, 0), 0, RINGBUF_SUBMIT);
        }
    }
}

/// The program: `burst` times number, reserve, fill, stay BUSY, commit, count, pause.
fn assemble(ring: i32, shape: Shape) -> Vec<bpf_insn> {
    let mut code = Code::default();
    code.op(MOV_X, (6, 1), 0, 0);
    code.op(MOV_K, (7, 0), 0, shape.burst);
    let top = code.0.len();
    code.count(0);
    code.op(MOV_X, (8, 1), 0, 0);
    code.reserve(ring);
    let full = code.jump(JEQ_K, 9, 0);
    code.fill();
    code.idle(shape.busy_turns);
    code.commit(shape);
    code.count(8);
    code.idle(shape.pause_turns);
    let next = code.jump(JMP, 0, 0);
    code.land(full);
    code.count(16);
    code.land(next);
    code.op(ADD_K, (7, 0), 0, -1);
    let back = code.jump(JNE_K, 7, 0);
    code.0[back].off = top as i16 - back as i16 - 1;
    code.op(MOV_K, (0, 0), 0, 0);
    code.op(EXIT, (0, 0), 0, 0);
    code.0
}

/// Prints past the capture of the test harness: a skipped test must be seen.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Why this machine cannot run tests on a real ring; `None` if it can.
pub fn unavailable() -> Option<String> {
    let ring = match ring_map(64 << 10, 0) {
        Ok(ring) => ring,
        Err(error) => return Some(format!("cannot make a BPF ring buffer: {error}")),
    };
    let shape = Shape {
        burst: 1,
        busy_turns: 0,
        pause_turns: 0,
        discards: false,
        flags: 0,
    };
    let run = Producer::new(ring.as_fd(), shape).and_then(|mut producer| producer.run());
    run.err()
        .map(|error| format!("cannot run a BPF program: {error}"))
}

/// Ties the calling thread to one CPU.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Ties the calling thread to the CPU that it runs on.
pub fn stay_here() -> io::Result<()> {
    pin(sched_getcpu()?)
}

/// Two CPUs that this thread may use, if there are two.
pub fn two_cpus() -> Option<(usize, usize)> {
    let set = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let mut usable = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true));
    Some((usable.next()?, usable.next()?))
}
