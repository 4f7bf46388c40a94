using System.Runtime.InteropServices;
using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.X86.Engine;
using Kvm.X86.State;

namespace Kvm.X86.Tests.Engine;

/// <summary>
/// Random memory, tables, descriptors and registers in every mode: whatever the guest is, the host sees no exception, nothing outside
/// guest memory changes, and the run ends when it is told to. Seeds are fixed; KVMSHARP_FUZZ_SEEDS asks for more of them.
/// </summary>
public sealed unsafe class HostileGuestTests
{
    private const int Size = 1 << 20, Guard = 4096;

    private static int Seeds => int.TryParse(Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_SEEDS"), out int n) ? n : 400;

    [Fact]
    public void NoGuestHarmsItsHost()
    {
        byte* host = (byte*)NativeMemory.AlignedAlloc(Size + (2 * Guard), 4096);
        try
        {
            for (int seed = 0; seed < Seeds; seed++)
                Once(host, seed);
        }
        finally
        {
            NativeMemory.AlignedFree(host);
        }
    }

    private static void Once(byte* host, int seed)
    {
        var random = new Random(seed);
        new Span<byte>(host, Guard).Fill(0xa5);
        new Span<byte>(host + Guard + Size, Guard).Fill(0x5a);
        var memory = new GuestMemory([new GuestRegion(0, Size, (nint)host + Guard)]);
        var generator = new HostileGuest(random, new Span<byte>(host + Guard, Size).Length, host + Guard);
        var pio = new IoBus();
        var mmio = new IoBus();
        pio.Add(0, 0x10000, new Noise(random));
        mmio.Add(0xfee00000, 0x1000, new Noise(random));
        var machine = new SoftMachine(memory, pio, mmio, CpuidTable.CreateDefault(1));
        using var processor = machine.AddProcessor(null);
        generator.FillMemory();
        processor.SetState(generator.State());
        ulong before = processor.Instructions;
        for (int run = 0; run < 40; run++)
        {
            var exit = processor.Run(500);
            if (exit is SoftExit.Shutdown or SoftExit.Unsupported || random.Next(20) == 0)
                processor.SetState(generator.State());
            else if (exit == SoftExit.Halted)
                processor.SetState(generator.State());
        }

        (processor.Instructions - before).Should().BeLessThanOrEqualTo(40 * 500, $"seed {seed} obeys its limit");
        new Span<byte>(host, Guard).ContainsAnyExcept((byte)0xa5).Should().BeFalse($"seed {seed} writes nothing below memory");
        new Span<byte>(host + Guard + Size, Guard).ContainsAnyExcept((byte)0x5a).Should().BeFalse($"seed {seed} writes nothing above memory");
    }

    private sealed class Noise(Random random) : IBusDevice
    {
        public void Read(ulong offset, Span<byte> data) => random.NextBytes(data);

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
        }
    }
}
