//! The topology of a guest's CPUs and memory, and QEMU's arguments for it.

use std::fmt;
use std::str::FromStr;

/// Sockets, dies per socket, cores per die, threads per core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Processor packages; each is a NUMA node when there are several.
    pub sockets: u32,
    /// Dies per package; each has a last-level cache of its own.
    pub dies: u32,
    /// Cores per die.
    pub cores: u32,
    /// Hardware threads per core.
    pub threads: u32,
    /// How many of the last cores have one thread only (efficiency cores); they are in one socket.
    pub single_threaded: u32,
}

impl Topology {
    /// One socket with `cpus` cores.
    pub fn flat(cpus: u32) -> Self {
        Self {
            sockets: 1,
            dies: 1,
            cores: cpus,
            threads: 1,
            single_threaded: 0,
        }
    }

    /// The number of CPUs.
    pub fn cpus(self) -> u32 {
        self.possible() - self.single_threaded * (self.threads - 1)
    }

    /// The number of CPUs in cores that have all their threads; they come first.
    pub fn paired(self) -> u32 {
        self.possible() - self.single_threaded * self.threads
    }

    /// The number of CPUs if every core had all its threads.
    fn possible(self) -> u32 {
        self.sockets * self.dies * self.cores * self.threads
    }

    /// QEMU's `-smp`, and `-numa` with the memory split when there are several sockets.
    pub fn qemu_arguments(self, memory_mib: u32) -> Vec<String> {
        let Self {
            sockets,
            dies,
            cores,
            threads,
            single_threaded,
        } = self;
        let cpus = self.possible();
        // QEMU gives all cores the same threads: cores with fewer are plugged thread by thread.
        let at_boot = self.paired();
        let mut smp = format!("{at_boot},sockets={sockets},cores={cores},threads={threads}");
        if dies > 1 {
            smp.push_str(&format!(",dies={dies}"));
        }
        if at_boot < cpus {
            smp.push_str(&format!(",maxcpus={cpus}"));
        }
        let mut arguments = vec!["-smp".to_owned(), smp];
        for core in cores - single_threaded..cores {
            let place = format!("socket-id=0,die-id=0,core-id={core},thread-id=0");
            arguments.extend(["-device".to_owned(), format!("max-x86_64-cpu,{place}")]);
        }
        if sockets > 1 {
            let per_socket = cpus / sockets;
            for node in 0..sockets {
                // The remainder goes to the first node.
                let remainder_mib = if node == 0 { memory_mib % sockets } else { 0 };
                let size_mib = memory_mib / sockets + remainder_mib;
                let (first, last) = (node * per_socket, (node + 1) * per_socket - 1);
                arguments.extend([
                    "-object".to_owned(),
                    format!("memory-backend-ram,id=mem{node},size={size_mib}M"),
                    "-numa".to_owned(),
                    format!("node,nodeid={node},cpus={first}-{last},memdev=mem{node}"),
                ]);
            }
        }
        arguments
    }
}

impl FromStr for Topology {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a topology: give SOCKETS:CORES:THREADS or SOCKETS:DIES:CORES:THREADS, as in 2:2:1"
            )
        };
        let fields: Vec<u32> = text
            .split(':')
            .map(|field| field.parse().ok().filter(|count| (1..=256).contains(count)))
            .collect::<Option<_>>()
            .ok_or_else(wrong)?;
        let topology = match fields[..] {
            [sockets, cores, threads] => Self {
                sockets,
                dies: 1,
                cores,
                threads,
                single_threaded: 0,
            },
            [sockets, dies, cores, threads] => Self {
                sockets,
                dies,
                cores,
                threads,
                single_threaded: 0,
            },
            _ => return Err(wrong()),
        };
        if fields
            .iter()
            .map(|count| u64::from(*count))
            .product::<u64>()
            > 255
        {
            return Err(format!("`{text}` has more than 255 CPUs"));
        }
        Ok(topology)
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sockets,
            dies,
            cores,
            threads,
            ..
        } = self;
        write!(f, "{sockets}:{dies}:{cores}:{threads}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_and_four_fields_are_parsed() {
        let three: Topology = "2:4:2".parse().unwrap();
        assert_eq!(
            three,
            Topology {
                sockets: 2,
                dies: 1,
                cores: 4,
                threads: 2,
                single_threaded: 0,
            }
        );
        assert_eq!(three.cpus(), 16);
        let four: Topology = "1:4:2:1".parse().unwrap();
        assert_eq!(
            four,
            Topology {
                sockets: 1,
                dies: 4,
                cores: 2,
                threads: 1,
                single_threaded: 0,
            }
        );
    }

    #[test]
    fn invalid_topologies_are_rejected() {
        for text in [
            "",
            "2",
            "2:2",
            "0:1:1",
            "1:1:1:1:1",
            "a:b:c",
            "64:64:1",
            "1:-1:1",
        ] {
            assert!(text.parse::<Topology>().is_err(), "{text}");
        }
    }

    #[test]
    fn one_socket_has_no_numa() {
        let arguments = Topology::flat(2).qemu_arguments(512);
        assert_eq!(arguments, ["-smp", "2,sockets=1,cores=2,threads=1"]);
    }

    #[test]
    fn cores_with_one_thread_are_plugged() {
        let topology = Topology {
            cores: 3,
            threads: 2,
            single_threaded: 1,
            ..Topology::flat(1)
        };
        assert_eq!(topology.cpus(), 5);
        assert_eq!(
            topology.qemu_arguments(512),
            [
                "-smp",
                "4,sockets=1,cores=3,threads=2,maxcpus=6",
                "-device",
                "max-x86_64-cpu,socket-id=0,die-id=0,core-id=2,thread-id=0",
            ]
        );
    }

    #[test]
    fn sockets_are_numa_nodes_that_share_the_memory() {
        let arguments = "2:2:1".parse::<Topology>().unwrap().qemu_arguments(1025);
        assert_eq!(
            arguments,
            [
                "-smp",
                "4,sockets=2,cores=2,threads=1",
                "-object",
                "memory-backend-ram,id=mem0,size=513M",
                "-numa",
                "node,nodeid=0,cpus=0-1,memdev=mem0",
                "-object",
                "memory-backend-ram,id=mem1,size=512M",
                "-numa",
                "node,nodeid=1,cpus=2-3,memdev=mem1",
            ]
        );
    }
}
