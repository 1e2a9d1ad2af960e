//! How the work of a product is divided.

/// How the work is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    Strip {
        /// Of the block of a thread.
        rows: usize,
        columns: usize,
        /// Blocks beside each other in a workgroup.
        blocks: usize,
        /// Threads that share the sums of a block.
        parts: usize,
    },
    Tile {
        /// Of the block of a thread.
        rows: usize,
        columns: usize,
    },
}

/// Threads of a tile along each dimension.
pub const TILE: usize = 8;
impl Form {
    /// The form for a product of these extents.
    pub fn of(rows: usize, columns: usize, input_first: bool, software: bool) -> Self {
        if software {
            // Reading is what costs: the more of a block is in registers, the fewer times. Few heights, so that few
            // kernels have to be compiled.
            let high = match rows {
                ..=2 => rows,
                3..=4 => 4,
                5..=24 => 8,
                _ => 17,
            };
            return Self::Strip {
                rows: high,
                columns: if high == 17 { 8 } else { 4 },
                blocks: if high == 17 { 4 } else { 8 },
                parts: 1,
            };
        }
        if rows <= 4 {
            // Neighbouring threads read neighbouring elements of the weight: along a row, or from column to column.
            let (blocks, parts) = if input_first { (16, 4) } else { (4, 16) };
            return Self::Strip {
                rows,
                columns: if input_first { 4 } else { 2 },
                blocks,
                parts,
            };
        }
        let side = if rows > 256 && columns >= 512 { 8 } else { 4 };
        Self::Tile {
            rows: side,
            columns: side,
        }
    }

    /// Rows and columns that a workgroup computes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::Strip {
                rows,
                columns,
                blocks,
                ..
            } => (rows, columns * blocks),
            Self::Tile { rows, columns } => (rows * TILE, columns * TILE),
        }
    }

    /// Whether its threads can normalise the rows of x on the way.
    pub fn normalises(self) -> bool {
        matches!(self, Self::Strip { rows, .. } if rows <= 4)
    }

    /// Whether a thread has four columns beside each other.
    pub fn writes_four(self) -> bool {
        match self {
            Self::Strip { columns, parts, .. } => parts == 1 && columns.is_multiple_of(4),
            Self::Tile { .. } => false,
        }
    }
}
