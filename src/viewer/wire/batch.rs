//! Datagrams of a viewer that leave together, concatenated in one buffer.

/// Most datagrams in one system call (UDP GSO; the kernel's own limit is 64, or 128 since 6.9), and most
/// bytes: no more than one datagram could have (RFC 768).
const MOST: usize = 64;
const MOST_BYTES: usize = 65_000;
/// Capacity that is kept: several pictures at 2 Mbit/s. What a keyframe needed beyond it is freed.
const KEPT: usize = 32 * 1024;

/// Datagrams in order.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// A part of a batch that one system call can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// The concatenated datagrams.
    pub content: &'a [u8],
    /// Size of each datagram except the last, which may be shorter.
    pub segment: usize,
}

impl Run<'_> {
    /// Its datagrams.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.content.chunks(self.segment)
    }
}

impl Batch {
    /// Adds a datagram, which `write` appends to the buffer. Nothing remains of one that fails.
    pub fn add<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let begin = self.bytes.len();
        match write(&mut self.bytes) {
            Ok(()) => {
                self.ends.push(self.bytes.len());
                Ok(())
            }
            Err(error) => {
                self.bytes.truncate(begin);
                Err(error)
            }
        }
    }

    /// Removes everything, and keeps some capacity.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.bytes.shrink_to(KEPT);
    }

    /// Everything, in as few parts as the kernel accepts: at most `most` datagrams of one size, of which the
    /// last may be shorter.
    pub fn runs(&self, most: usize) -> impl Iterator<Item = Run<'_>> {
        let most = most.clamp(1, MOST);
        let (mut at, mut ends) = (0, &self.ends[..]);
        std::iter::from_fn(move || {
            let segment = ends.first()? - at;
            let (mut end, mut count) = (at, 0);
            while let Some(next) = ends.get(count)
                && count < most
                && next - end <= segment
                && next - at <= MOST_BYTES.max(segment)
            {
                let shorter = next - end < segment;
                (end, count) = (*next, count + 1);
                if shorter {
                    break;
                }
            }
            let run = Run { content: &self.bytes[at..end], segment };
            (at, ends) = (end, &ends[count..]);
            Some(run)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(sizes: &[usize]) -> Batch {
        let mut batch = Batch::default();
        for (n, size) in sizes.iter().enumerate() {
            let write = |out: &mut Vec<u8>| {
                out.extend(std::iter::repeat_n(n as u8, *size));
                Ok::<_, ()>(())
            };
            batch.add(write).expect("written");
        }
        batch
    }

    fn runs(sizes: &[usize]) -> Vec<(usize, usize)> {
        let batch = batch(sizes);
        let datagrams: Vec<_> =
            batch.runs(MOST).flat_map(|r| r.datagrams().map(<[u8]>::to_vec).collect::<Vec<_>>()).collect();
        let expected: Vec<_> = sizes.iter().enumerate().map(|(n, size)| vec![n as u8; *size]).collect();
        assert_eq!(datagrams, expected, "all, in order");
        batch.runs(MOST).map(|r| (r.segment, r.datagrams().count())).collect()
    }

    #[test]
    fn equal_ones_go_together_and_a_shorter_one_ends_a_run() {
        assert_eq!(runs(&[]), []);
        assert_eq!(runs(&[120]), [(120, 1)]);
        assert_eq!(runs(&[900, 900, 900, 880]), [(900, 4)]);
        assert_eq!(runs(&[900, 880, 900]), [(900, 2), (900, 1)]);
        assert_eq!(runs(&[40, 900, 900]), [(40, 1), (900, 2)]);
        assert_eq!(runs(&[1200; 70]), [(1200, 54), (1200, 16)], "of 65,000 bytes");
        assert_eq!(runs(&[100; 70]), [(100, 64), (100, 6)]);
        let single = batch(&[100; 3]);
        assert_eq!(single.runs(1).map(|r| r.content.len()).collect::<Vec<_>>(), [100; 3]);
    }

    #[test]
    fn of_a_failure_nothing_stays() {
        let mut batch = batch(&[3]);
        let half = |out: &mut Vec<u8>| {
            out.push(1);
            Err("no more")
        };
        assert_eq!(batch.add(half), Err("no more"));
        assert_eq!(batch.runs(MOST).map(|r| r.content.len()).collect::<Vec<_>>(), [3]);
        batch.clear();
        assert_eq!(batch.runs(MOST).count(), 0);
    }
}
