//! How the work of a product is divided.

/// How the work is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A thread has a block of the result for itself.
    Strip {
        /// Of the block of a thread.
        rows: usize,
        columns: usize,
        /// Blocks beside each other in a workgroup.
        blocks: usize,
    },
    /// Several threads share the sums of a block.
    Shared {
        /// Of a block.
        rows: usize,
        columns: usize,
        /// Blocks beside each other in a workgroup.
        blocks: usize,
        /// Threads of a block.
        parts: usize,
    },
    /// A workgroup has a block for itself and copies what it is the product of into its memory, a piece at a time.
    Tile {
        /// Of the block of a thread.
        rows: usize,
        columns: usize,
        /// Teams of threads, each of which takes a part of the sums.
        parts: usize,
        /// Vectors of four of each row that a team copies at a time.
        steps: usize,
    },
}

/// Threads of a team of a tile along each dimension.
pub const TILE: usize = 8;

/// Elements of normalised rows of x that fit into the memory of a workgroup.
pub const NORMALISED: usize = 3072;

/// Elements of a weight beyond which the memory is what a product with few rows waits for.
const LARGE: usize = 8 << 20;

/// What a form is chosen by.
#[derive(Clone, Copy, Debug)]
pub struct Extents {
    pub rows: usize,
    pub columns: usize,
    /// What is summed over.
    pub width: usize,
    /// Vectors of four that a thread reads of a row of the weight at once.
    pub at_once: usize,
    pub input_first: bool,
    /// A layer norm and codes of few bits give a thread more to compute.
    pub normalised: bool,
    pub codes: bool,
}

impl Form {
    /// For a device that is really a CPU.
    pub fn for_software(extents: Extents) -> Self {
        // Reading is what costs: the more of a block is in registers, the fewer times. Few heights, so that few
        // kernels have to be compiled.
        let high = match extents.rows {
            rows @ ..=2 => rows,
            3..=4 => 4,
            5..=24 => 8,
            _ => 17,
        };
        Self::Strip {
            rows: high,
            columns: if high == 17 { 8 } else { 4 },
            blocks: if high == 17 { 4 } else { 8 },
        }
    }

    /// For a GPU, by what was the fastest on one (docs/webgpu.md).
    pub fn for_hardware(extents: Extents) -> Self {
        let Extents {
            rows,
            columns,
            width,
            at_once,
            input_first,
            normalised,
            codes,
        } = extents;
        if rows <= 4 && input_first {
            // Neighbouring threads read neighbouring columns.
            return Self::Shared {
                rows,
                columns: 4,
                blocks: 8,
                parts: 8,
            };
        }
        if rows <= 4 && width * columns >= LARGE {
            // All of the GPU is busy, and reading x again is what can be saved.
            let (columns, parts) = if codes { (4, 32) } else { (1, 16) };
            return Self::Shared {
                rows,
                columns,
                blocks: 8,
                parts,
            };
        }
        if rows <= 4 {
            // Along a row: so many threads that each has a few pieces of it.
            let steps = width / (4 * at_once);
            let parts = if normalised {
                16
            } else {
                (steps / 4).next_power_of_two().clamp(16, 64)
            };
            let threads = match parts {
                _ if normalised => 64,
                16 => 128,
                _ => 256,
            };
            return Self::Shared {
                rows,
                columns: if normalised && codes { 2 } else { 1 },
                blocks: threads / parts,
                parts,
            };
        }
        // So small that there is work for all of the GPU, and not smaller, since small blocks read more.
        let blocks = |side: usize| rows.div_ceil(side) * columns.div_ceil(side);
        let (rows, columns, parts, steps) = match rows {
            ..=64 if blocks(16) <= 640 => (2, 2, 4, 4),
            ..=64 => (4, 2, 4, 4),
            _ if blocks(32) <= 1000 => (4, 4, 4, 2),
            _ => (4, 4, 1, 4),
        };
        Self::Tile {
            rows,
            columns,
            parts,
            steps,
        }
    }

    /// All that are worth trying on a GPU, for choosing.
    pub fn candidates(extents: Extents) -> Vec<Self> {
        let mut forms = vec![];
        if extents.rows <= 4 {
            let rows = extents.rows;
            // By columns a thread reads neighbours, four at a time; along rows a piece.
            let (columns, parts) = match extents.input_first {
                true => (&[4, 8, 16][..], &[4, 8, 16][..]),
                false => (&[1, 2, 4][..], &[8, 16, 32, 64][..]),
            };
            for threads in [64, 128, 256] {
                for &parts in parts {
                    for &columns in columns {
                        forms.push(Self::Shared {
                            rows,
                            columns,
                            blocks: threads / parts,
                            parts,
                        });
                    }
                }
            }
            return forms;
        }
        for (rows, columns) in [(2, 2), (2, 4), (4, 2), (4, 4), (4, 8), (8, 4), (8, 8)] {
            for parts in [1, 2, 4] {
                for steps in [2, 4] {
                    let form = Self::Tile {
                        rows,
                        columns,
                        parts,
                        steps,
                    };
                    let shares = |side: usize| (steps * side).is_multiple_of(TILE);
                    if form.memory() <= 16 * 1024 && shares(rows) && shares(columns) {
                        forms.push(form);
                    }
                }
            }
        }
        forms
    }

    /// Bytes of the memory of a workgroup that a tile takes.
    pub fn memory(self) -> usize {
        match self {
            Self::Tile {
                rows,
                columns,
                parts,
                steps,
            } => {
                let pieces = 16 * parts * steps * TILE * (rows + columns);
                let sums = if parts > 1 {
                    4 * TILE * TILE * rows * columns
                } else {
                    0
                };
                pieces + sums
            }
            _ => 0,
        }
    }

    /// Rows and columns that a workgroup computes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::Strip {
                rows,
                columns,
                blocks,
            }
            | Self::Shared {
                rows,
                columns,
                blocks,
                ..
            } => (rows, columns * blocks),
            Self::Tile { rows, columns, .. } => (rows * TILE, columns * TILE),
        }
    }

    /// Whether its threads can normalise rows of x of this width on the way.
    pub fn normalises(self, width: usize) -> bool {
        match self {
            Self::Strip { rows, .. } => rows <= 4,
            Self::Shared { rows, .. } => rows * width <= NORMALISED,
            Self::Tile { .. } => false,
        }
    }

    /// Whether what is summed over is part of the text.
    pub fn knows_width(self) -> bool {
        matches!(self, Self::Shared { .. })
    }

    /// Whether a thread has four columns beside each other.
    pub fn writes_four(self) -> bool {
        matches!(self, Self::Strip { columns, .. } if columns.is_multiple_of(4))
    }
}
