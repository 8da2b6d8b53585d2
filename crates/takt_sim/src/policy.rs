//! The policy compiled for the host: what `shim/sim.h` declares, with Rust's types.

use crate::mask::{CpuMask, WORDS};
use crate::topology::Topology;
use std::ffi::{CString, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The declarations of `shim/sim.h`.
#[allow(
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    clippy::all
)]
pub mod ffi {
    include!(concat!(env!("OUT_DIR"), "/policy.rs"));
}

pub use ffi::{
    sim_numbers as Numbers, sim_queue_record as QueueRecord, sim_task_record as TaskRecord,
};

/// The policy has one set of globals: one world at a time has it.
static IN_USE: Mutex<()> = Mutex::new(());

/// The policy, freshly loaded.
pub struct Policy {
    _in_use: MutexGuard<'static, ()>,
    /// Numbers of queues, limits, flags.
    pub numbers: Numbers,
}

impl Policy {
    /// Waits until no other world has the policy, and loads it for this machine.
    pub fn load(topology: &Topology) -> Self {
        let in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut machine = ffi::sim_machine {
            nr_cpus: topology.nr_cpus() as u32,
            nr_llcs: topology.nr_llcs() as u32,
            llc_of: [0; 1024],
            node_of_llc: [0; 128],
        };
        for cpu in 0..topology.nr_cpus() {
            machine.llc_of[cpu] = topology.llc_of(cpu) as u16;
        }
        for llc in 0..topology.nr_llcs() {
            machine.node_of_llc[llc] = topology.node_of_llc(llc) as u8;
        }
        // SAFETY: the lock is held, so that no other thread is inside the policy.
        let numbers = unsafe {
            ffi::sim_reset(&raw mut machine);
            ffi::sim_numbers()
        };
        Self {
            _in_use: in_use,
            numbers,
        }
    }

    /// What it knows of a queue.
    pub fn queue(&self, queue: u32) -> QueueRecord {
        // SAFETY: the lock is held; any number is masked.
        unsafe { ffi::sim_queue_record(queue) }
    }

    /// How many tasks an affinity domain has, by its record.
    pub fn domain_tasks(&self, number: u32) -> i32 {
        // SAFETY: as above.
        unsafe { ffi::sim_domain_tasks(number) }
    }
}

/// A `struct task_struct`, and the policy's record of it.
pub struct SysTask(ffi::sim_task_view);

impl SysTask {
    /// A new one, all zeros but for its name and number.
    pub fn new(pid: i32, name: &str) -> Self {
        let name = CString::new(name).unwrap_or_default();
        // SAFETY: the name is a C string; the memory is ours until drop.
        Self(unsafe { ffi::sim_task_new(pid, name.as_ptr()) })
    }

    /// Its address.
    pub fn address(&self) -> *mut c_void {
        self.0.task
    }

    /// The policy's record of it.
    pub fn record(&self) -> TaskRecord {
        // SAFETY: it is a task made by sim_task_new().
        unsafe { ffi::sim_task_record(self.0.task) }
    }

    /// Sets `prio`: below 100 it is a real-time task.
    pub fn set_prio(&mut self, prio: i32) {
        // SAFETY: as above.
        unsafe { ffi::sim_set_prio(self.0.task, prio) }
    }

    /// Sets the CPUs that it may use.
    pub fn set_mask(&mut self, mask: &CpuMask) {
        // SAFETY: the kernel's mask has as many words, and no other reference to it exists.
        let words = unsafe { std::slice::from_raw_parts_mut(self.0.cpus_mask, WORDS) };
        words.copy_from_slice(&mask.0);
        self.set_nr_cpus_allowed(mask.count() as i32);
    }
}

impl Drop for SysTask {
    fn drop(&mut self) {
        // SAFETY: made by sim_task_new(), and not used any more.
        unsafe { ffi::sim_task_free(self.0.task) }
    }
}

macro_rules! fields {
    ($($doc:literal $field:ident, $set:ident: $type:ty;)*) => {
        impl SysTask {
            $(
                #[doc = $doc]
                pub fn $field(&self) -> $type {
                    // SAFETY: the address of a field of the task, which lives as long as we do.
                    unsafe { *self.0.$field }
                }
                #[doc = concat!("Sets it: ", $doc)]
                pub fn $set(&mut self, value: $type) {
                    // SAFETY: as above.
                    unsafe { *self.0.$field = value }
                }
            )*
        }
    };
}

fields! {
    "The CPU that it belongs to." cpu, set_cpu: i32;
    "`__state`: 0 if it is runnable." state, set_state: u32;
    "`flags`: `PF_*`." pf_flags, set_pf_flags: u32;
    "`scx.flags`." scx_flags, set_scx_flags: u32;
    "`scx.weight`: 100 is nice 0." weight, set_weight: u32;
    "`policy`: 0 normal, 3 batch, 5 idle." policy, set_policy: u32;
    "How many CPUs it may use." nr_cpus_allowed, set_nr_cpus_allowed: i32;
    "`scx.slice`, ns." slice_ns, set_slice_ns: u64;
    "`scx.dsq_vtime`." dsq_vtime, set_dsq_vtime: u64;
}
