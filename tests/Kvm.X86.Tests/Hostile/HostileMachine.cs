using Kvm.Devices.Bus;
using Kvm.X86.Engine;
using Kvm.X86.Interrupts;
using Kvm.X86.State;
using Kvm.X86.Tests.Translate;

namespace Kvm.X86.Tests.Hostile;

/// <summary>A machine for one hostile image: noise on every port and at some addresses, repeatable time and random numbers.</summary>
internal sealed unsafe class HostileMachine : IDisposable
{
    private readonly FencedMemory _memory;
    private readonly ArchitecturalState _state = new();

    /// <summary>Makes it.</summary>
    /// <param name="memory">Its memory; stays the caller's.</param>
    /// <param name="seed">Of the image and of what devices answer.</param>
    /// <param name="translateAfter">0: interpreted.</param>
    /// <param name="shadow">Whether page tables are shadowed.</param>
    /// <param name="chips">Interrupts; null for none.</param>
    public HostileMachine(FencedMemory memory, int seed, int translateAfter, bool shadow, params IInterruptSource?[] chips)
    {
        _memory = memory;
        IoBus pio = new(), mmio = new();
        pio.Add(0, 0x10000, new Noise(seed));
        mmio.Add(0x4000_0000, 0x1000_0000, new Noise(seed));
        Machine = new SoftMachine(memory.Memory, pio, mmio, CpuidTable.CreateDefault(chips.Length))
        {
            ShadowPaging = shadow,
            CodeMemory = translateAfter > 0 ? () => TestCodeMemory.Create(1 << 20) : null,
            TranslateAfter = Math.Max(translateAfter, 1),
        };
        Processors = [.. chips.Select(Machine.AddProcessor)];
        for (int n = 0; n < Processors.Length; n++)
        {
            ulong tsc = 0;
            var noise = new Random(seed + n);
            Processors[n].Context.TscSource = () => tsc += 1000;
            Processors[n].Context.RandomSource = noise.NextBytes;
        }

        Guest = new HostileGuest(new Random(seed), FencedMemory.Size, memory.Ram);
        Guest.FillMemory();
        new Random(seed).NextBytes(memory.RomBytes);
    }

    public SoftMachine Machine { get; }

    public SoftProcessor[] Processors { get; }

    public SoftProcessor Processor => Processors[0];

    public HostileGuest Guest { get; }

    public Span<byte> Bytes => _memory.Bytes;

    public Span<byte> Rom => _memory.RomBytes;

    /// <summary>The state now; the same object each time.</summary>
    public ArchitecturalState State
    {
        get
        {
            Processor.GetState(_state);
            return _state;
        }
    }

    public void Dispose()
    {
        foreach (var processor in Processors)
            processor.Dispose();
    }

    private sealed class Noise(int seed) : IBusDevice
    {
        private readonly Random _random = new(seed);
        private readonly Lock _lock = new();

        public void Read(ulong offset, Span<byte> data)
        {
            lock (_lock)
                _random.NextBytes(data);
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
        }
    }
}
