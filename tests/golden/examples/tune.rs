//! Times the ways to divide the products of a preset on the GPU itself, without burn: how the forms in
//! `coca-kernels/src/gpu/product/form.rs` were chosen. `cargo xtask bench tune`.
//!
//! The dispatches of a measurement wait for each other, as those of a model do, and take turns on many copies of the
//! weight, so that the GPU's cache holds none of them. Beside them stand what the GPU reads in a second and what a dispatch
//! costs that does nothing: no division of work gets below these.

#![allow(clippy::unwrap_used, reason = "a measurement may panic")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::wgpu::wgpu;
use coca_kernels::gpu::{Written, written};
use coca_model::ModelConfig;
use pollster::block_on;

/// Bytes of all copies of a weight together: more than a cache holds.
const COLD: u64 = 256 << 20;
/// Dispatches of a measurement.
const CHAIN: u32 = 192;
/// A measurement is repeated for so long, after which a GPU that saves power is awake; the best counts.
const AWAKE: Duration = Duration::from_millis(12);

fn main() {
    let preset = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "coca_ViT-B-32".into());
    let all = std::env::args().nth(2).is_some_and(|word| word == "all");
    let config = ModelConfig::preset(&preset).unwrap_or_else(|| panic!("no preset {preset:?}"));
    let gpu = Gpu::open();
    println!("{}", gpu.name);
    // The first measurement wakes it up.
    gpu.nothing();
    let bandwidth = gpu.bandwidth();
    let nothing = gpu.nothing();
    println!("reads {bandwidth:.0} GB/s; a dispatch that does nothing takes {nothing:.2} µs");
    // Only the shapes with this extent, if one is given.
    let extent: Option<usize> = std::env::args().nth(3).and_then(|word| word.parse().ok());
    let fits = |shape: &Shape| {
        (shape.bits != 16 || gpu.halves)
            && extent.is_none_or(|extent| shape.extents.contains(&extent))
    };
    let shapes: Vec<Shape> = shapes(&config).into_iter().filter(fits).collect();
    let found: Vec<Vec<Written>> = shapes.iter().map(Shape::written).collect();
    let mut pipelines = gpu.pipelines(&found.concat()).into_iter();
    for (shape, found) in shapes
        .iter()
        .zip(&found)
        .filter(|(_, found)| !found.is_empty())
    {
        let mut times: Vec<(f64, &Written)> = found
            .iter()
            .zip(&mut pipelines)
            .map(|(kernel, pipeline)| (gpu.time(kernel, &pipeline), kernel))
            .collect();
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let [rows, width, columns] = shape.extents;
        let bytes: usize = times[0].1.buffers.iter().sum();
        println!(
            "{rows} x {width} by {width} x {columns}, {} bits{}{}: {:.2} MB, at least {:.2} µs",
            shape.bits,
            if shape.input_first {
                ", input first"
            } else {
                ""
            },
            if shape.normalised { ", normalised" } else { "" },
            bytes as f64 / 1e6,
            bytes as f64 / bandwidth / 1e3,
        );
        for (place, (time, kernel)) in times.iter().enumerate() {
            if all || place < 4 || kernel.chosen {
                println!(
                    "  {:8.2} µs {:7.0} GB/s  {}{}",
                    time,
                    bytes as f64 / time / 1e3,
                    kernel.name,
                    if kernel.chosen { "  <- chosen" } else { "" }
                );
            }
        }
    }
}

struct Shape {
    extents: [usize; 3],
    bits: u32,
    input_first: bool,
    normalised: bool,
}

impl Shape {
    fn written(&self) -> Vec<Written> {
        written(self.extents, self.bits, self.input_first, self.normalised)
    }
}

/// The products of a step of decoding, of a picture and of eight texts.
fn shapes(config: &ModelConfig) -> Vec<Shape> {
    let (v, t) = (&config.vision_cfg, &config.text_cfg);
    let patches = v.grid()[0] * v.grid()[1] + 1;
    let mut shapes = vec![];
    let towers = [
        (1, t.width, 4 * t.width, &[32, 16, 8, 4][..]),
        (patches, v.width, v.mlp_hidden(), &[32, 16]),
        (8 * (t.context_length + 1), t.width, 4 * t.width, &[32, 16]),
    ];
    // Far larger than a model here has: memory rules.
    for bits in [32, 16, 8, 4] {
        shapes.push(Shape {
            extents: [1, 4096, 16384],
            bits,
            input_first: false,
            normalised: false,
        });
    }
    for (rows, width, hidden, bits) in towers {
        for &bits in bits {
            for (width, columns, normalised) in [
                (width, 3 * width, true),
                (width, width, false),
                (width, hidden, true),
                (hidden, width, false),
            ] {
                shapes.push(Shape {
                    extents: [rows, width, columns],
                    bits,
                    input_first: false,
                    normalised: normalised && rows == 1,
                });
            }
            if rows == 1 {
                shapes.push(Shape {
                    extents: [1, t.width, t.vocab_size],
                    bits,
                    input_first: true,
                    normalised: true,
                });
            }
        }
    }
    shapes
}

struct Gpu {
    name: String,
    device: wgpu::Device,
    queue: wgpu::Queue,
    /// Whether kernels can have numbers of 16 bits.
    halves: bool,
    /// What is read from.
    cold: wgpu::Buffer,
    /// Its bytes: [`COLD`], or as many as a kernel may have.
    size: u64,
    /// When a measurement began and ended.
    queries: wgpu::QuerySet,
}

impl Gpu {
    fn open() -> Self {
        let instance =
            wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let adapter = block_on(instance.request_adapter(&wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        }))
        .unwrap();
        let info = adapter.get_info();
        let halves = adapter.features().contains(wgpu::Features::SHADER_F16);
        // What a browser has: no subgroups.
        let features =
            wgpu::Features::TIMESTAMP_QUERY | (adapter.features() & wgpu::Features::SHADER_F16);
        let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            required_features: features,
            required_limits: adapter.limits(),
            ..Default::default()
        }))
        .unwrap();
        let limits = adapter.limits();
        let size = COLD
            .min(limits.max_storage_buffer_binding_size)
            .min(limits.max_buffer_size);
        let cold = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        // Numbers that are none too large in any of the types: what is timed must not be zeros.
        let noise: Vec<u8> = (0..1u32 << 20)
            .flat_map(|at| {
                (0x2c00_2c00 | (at.wrapping_mul(2_654_435_761) >> 8 & 0x03ff_03ff)).to_le_bytes()
            })
            .collect();
        for start in (0..size).step_by(noise.len()) {
            queue.write_buffer(&cold, start, &noise);
        }
        let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        Self {
            name: format!("{} ({:?}, {})", info.name, info.backend, info.driver_info),
            device,
            queue,
            halves,
            cold,
            size,
            queries,
        }
    }

    fn pipeline(&self, text: &str) -> wgpu::ComputePipeline {
        let module = self
            .device
            .create_shader_module(wgpu::ShaderModuleDescriptor {
                label: None,
                source: wgpu::ShaderSource::Wgsl(text.into()),
            });
        self.device
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: None,
                layout: None,
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: None,
            })
    }

    /// Compiled by all processors.
    fn pipelines(&self, kernels: &[Written]) -> Vec<wgpu::ComputePipeline> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(vec![]);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        let Some(kernel) = kernels.get(place) else {
                            break;
                        };
                        let pipeline = self.pipeline(&kernel.text);
                        done.lock().unwrap().push((place, pipeline));
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap();
        done.sort_by_key(|(place, _)| *place);
        done.into_iter().map(|(_, pipeline)| pipeline).collect()
    }

    fn buffer(&self, size: usize) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: size as u64,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_DST
                | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        })
    }

    /// Microseconds of a dispatch.
    fn time(&self, kernel: &Written, pipeline: &wgpu::ComputePipeline) -> f64 {
        let numbers = self.buffer(4 * kernel.numbers.len());
        let bytes: Vec<u8> = kernel
            .numbers
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect();
        self.queue.write_buffer(&numbers, 0, &bytes);
        let others: Vec<wgpu::Buffer> = kernel
            .buffers
            .iter()
            .map(|&size| self.buffer(size))
            .collect();
        let weight = kernel.buffers[1] as u64;
        let distance = weight.next_multiple_of(256);
        let copies = (self.size / distance).clamp(1, 64);
        let groups: Vec<wgpu::BindGroup> = (0..copies)
            .map(|copy| {
                let entries = others.iter().enumerate().map(|(at, buffer)| {
                    let resource = match at {
                        1 => wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                            buffer: &self.cold,
                            offset: copy * distance,
                            size: std::num::NonZero::new(weight),
                        }),
                        _ => buffer.as_entire_binding(),
                    };
                    wgpu::BindGroupEntry {
                        binding: at as u32,
                        resource,
                    }
                });
                let numbers = wgpu::BindGroupEntry {
                    binding: others.len() as u32,
                    resource: numbers.as_entire_binding(),
                };
                let entries: Vec<wgpu::BindGroupEntry> = entries.chain([numbers]).collect();
                self.device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: None,
                    layout: &pipeline.get_bind_group_layout(0),
                    entries: &entries,
                })
            })
            .collect();
        self.chain(pipeline, &groups, kernel.groups)
    }

    /// Microseconds of a dispatch in a chain of them.
    fn chain(
        &self,
        pipeline: &wgpu::ComputePipeline,
        bindings: &[wgpu::BindGroup],
        [x, y, z]: [u32; 3],
    ) -> f64 {
        let begin = Instant::now();
        let mut best = f64::INFINITY;
        while begin.elapsed() < AWAKE {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: None,
                    timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                        query_set: &self.queries,
                        beginning_of_pass_write_index: Some(0),
                        end_of_pass_write_index: Some(1),
                    }),
                });
                pass.set_pipeline(pipeline);
                for (_, binding) in (0..CHAIN).zip(bindings.iter().cycle()) {
                    pass.set_bind_group(0, binding, &[]);
                    pass.dispatch_workgroups(x, y, z);
                }
            }
            let resolved = self.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 16,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            });
            let read = self.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 16,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            encoder.resolve_query_set(&self.queries, 0..2, &resolved, 0);
            encoder.copy_buffer_to_buffer(&resolved, 0, &read, 0, 16);
            self.queue.submit([encoder.finish()]);
            read.slice(..)
                .map_async(wgpu::MapMode::Read, |done| done.unwrap());
            self.device
                .poll(wgpu::PollType::wait_indefinitely())
                .unwrap();
            let stamps: Vec<u64> = read
                .slice(..)
                .get_mapped_range()
                .unwrap()
                .chunks_exact(8)
                .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
                .collect();
            let ticks = stamps[1].saturating_sub(stamps[0]) as f64;
            let time = ticks * f64::from(self.queue.get_timestamp_period()) / 1e3;
            best = best.min(time / f64::from(CHAIN));
        }
        best
    }

    /// Gigabytes that are read in a second.
    fn bandwidth(&self) -> f64 {
        let (threads, turns) = (self.size / 16 / 32, 32);
        let pipeline = self.pipeline(&format!(
            "@group(0) @binding(0) var<storage, read_write> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
var sum = vec4<u32>(0u);
for (var i = 0u; i < {turns}u; i++) {{ sum += x[id.x + i * {threads}u]; }}
if (sum.x == 1u) {{ y[0] = sum; }}
}}"
        ));
        let y = self.buffer(16);
        let binding = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry {
                    binding: 0,
                    resource: self.cold.as_entire_binding(),
                },
                wgpu::BindGroupEntry {
                    binding: 1,
                    resource: y.as_entire_binding(),
                },
            ],
        });
        let time = self.chain(&pipeline, &[binding], [(threads / 256) as u32, 1, 1]);
        self.size as f64 / time / 1e3
    }

    /// Microseconds of a dispatch that does next to nothing.
    fn nothing(&self) -> f64 {
        let pipeline = self.pipeline(
            "@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3<u32>) { y[id.x] += 1u; }",
        );
        let y = self.buffer(128);
        let binding = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: y.as_entire_binding(),
            }],
        });
        self.chain(&pipeline, &[binding], [1, 1, 1])
    }
}
