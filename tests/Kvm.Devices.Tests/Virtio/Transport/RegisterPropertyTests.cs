using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio;

namespace Kvm.Devices.Tests.Virtio.Transport;

/// <summary>Registers used in any order, and from any thread; <see cref="AllAccessesTests"/> leaves none out.</summary>
public sealed class RegisterPropertyTests
{
    public static TheoryData<bool> Pci => [false, true];

    private static readonly Gen<ulong> Values = Gen.OneOf(
        Gen.Choose(0, 20).Select(v => (ulong)v),
        Gen.Elements(0UL, 1UL, 0xffffUL, 0xffff_ffffUL, ulong.MaxValue, 0x8000UL, 32_769UL, 0x0fUL, GuestArena.Base, GuestArena.Base + 0x2000),
        from a in Gen.Choose(int.MinValue, int.MaxValue) select (ulong)(uint)a);

    private static Gen<(ulong Offset, int Width, ulong Value, bool Write)[]> Accesses(int[] telling, int size) =>
        (from offset in Gen.OneOf(Gen.Elements(telling), Gen.Choose(0, size + 16))
         from width in Gen.OneOf(Gen.Elements(1, 2, 4, 8), Gen.Choose(1, 8))
         from value in Values
         from write in Gen.Frequency((2, Gen.Constant(true)), (1, Gen.Constant(false)))
         select ((ulong)offset, width, value, write)).ArrayOf(300);

    [Fact]
    public void Any_accesses_of_the_mmio_window_throw_nothing_and_a_reset_mends_all() =>
        Prop.ForAll(Accesses([0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70, 0x70, 0x80, 0x90, 0xa0, 0xc0, 0x100], 0x200).ToArbitrary(), accesses =>
        {
            using var arena = new GuestArena(1 << 16);
            var device = new EchoDevice(arena.Memory);
            device.Schedule(new InlineScheduler());
            var guest = new GuestMmio(device);
            byte[] data = new byte[8];
            foreach (var (offset, width, value, write) in accesses)
            {
                BitConverter.TryWriteBytes(data, value);
                if (write)
                    guest.Registers.Write(offset, data.AsSpan(0, width));
                else
                    guest.Registers.Read(offset, data.AsSpan(0, width));
            }

            return Works(guest, arena);
        }).QuickCheckThrowOnFailure();

    [Fact]
    public void Any_accesses_of_the_pci_windows_throw_nothing_and_a_reset_mends_all()
    {
        int[] telling = [0, 8, 0xc, 0x10, 0x14, 0x14, 0x16, 0x18, 0x1a, 0x1c, 0x20, 0x28, 0x30, 0x3a, 0x1000, 0x2000, 0x2004, 0x3000, 0x3004, 0x4000, 0x400c, 0x4800];
        Prop.ForAll(Accesses(telling, 0x5000).ToArbitrary(), accesses =>
        {
            using var arena = new GuestArena(1 << 16);
            var device = new EchoDevice(arena.Memory);
            device.Schedule(new InlineScheduler());
            var guest = new GuestPci(device);
            ulong registers = guest.BarAddress(4), table = guest.BarAddress(1);
            byte[] data = new byte[8];
            foreach (var (offset, width, value, write) in accesses)
            {
                BitConverter.TryWriteBytes(data, value);
                ulong at = offset < 0x4000 ? registers + offset : table + (offset - 0x4000);
                if (write)
                    guest.Mmio.Write(at, data.AsSpan(0, width));
                else
                    guest.Mmio.Read(at, data.AsSpan(0, width));
            }

            return Works(guest, arena);
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void Any_accesses_of_a_virtio_function_s_configuration_space_throw_nothing() =>
        Prop.ForAll(Accesses([0x04, 0x10, 0x14, 0x20, 0x24, 0x3c, 0x40, 0x42, 0x90, 0x94, 0x98, 0x9c, 0xa0, 0xa4], 0x100).ToArbitrary(), accesses =>
        {
            using var arena = new GuestArena(1 << 16);
            var device = new EchoDevice(arena.Memory);
            device.Schedule(new InlineScheduler());
            var guest = new GuestPci(device);
            uint identity = guest.Config32(0);
            byte[] data = new byte[8];
            foreach (var (offset, width, value, write) in accesses)
            {
                BitConverter.TryWriteBytes(data, value);
                if (write)
                    guest.Bus.WriteConfig(GuestPci.Slot, (int)offset, data.AsSpan(0, width));
                else
                    guest.Bus.ReadConfig(GuestPci.Slot, (int)offset, data.AsSpan(0, width));
            }

            guest.SetConfig(4, 2, 0);
            guest.SetConfig(0x14, 4, 0xd000_0000);
            guest.SetConfig(0x20, 4, 0xd100_0000);
            guest.SetConfig(4, 2, 2);
            guest.SetConfig(guest.MsixCapability + 2, 2, 0);
            return guest.Config32(0) == identity && Works(guest, arena);
        }).QuickCheckThrowOnFailure();

    [Theory]
    [MemberData(nameof(Pci))]
    public async Task Registers_used_from_three_threads_while_queues_run_neither_throw_nor_deadlock(bool pci)
    {
        using var arena = new GuestArena(1 << 16);
        var device = new EchoDevice(arena.Memory);
        device.Schedule(new InlineScheduler());
        var guest = GuestTransport.Make(pci, device);
        var driver = new FakeSplitDriver(arena, 8);
        var threads = Enumerable.Range(0, 3).Select(n => Task.Run(() =>
        {
            for (int i = 0; i < 2_000; i++)
            {
                switch ((i + n * 7) % 9)
                {
                    case 0:
                        guest.Negotiate(VirtioFeature.Version1 | VirtioFeature.RingReset);
                        break;
                    case 1 or 5:
                        guest.SetUp(0, driver);
                        guest.SetDriverOk();
                        break;
                    case 2:
                        guest.ResetQueue(0);
                        break;
                    case 3:
                        guest.TakeInterrupt();
                        break;
                    case 4:
                        arena.Set16(driver.Available + 2, i & 7);
                        guest.Notify(0);
                        break;
                    case 6:
                        device.ChangeConfig((byte)i);
                        break;
                    default:
                        device.ProcessQueue(0);
                        break;
                }
            }
        }));
        await Task.WhenAll(threads).WaitAsync(TimeSpan.FromSeconds(120));
        Works(guest, arena).Should().BeTrue();
    }

    private static bool Works(GuestTransport guest, GuestArena arena)
    {
        var driver = new FakeSplitDriver(arena, 4);
        ulong data = arena.AllocateFilled([42, 0]);
        guest.Start(0, driver);
        driver.Add(Element.Out(data, 1), Element.In(data + 1, 1));
        guest.Notify(0);
        return driver.TakeUsed() is { Written: 1 } && arena.Bytes(data + 1, 1)[0] == 42;
    }
}
