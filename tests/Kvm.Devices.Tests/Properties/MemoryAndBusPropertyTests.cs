using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Properties;

public sealed class MemoryAndBusPropertyTests
{
    private const int Page = GuestMemory.PageSize;

    // Addresses near the edges of anything: page boundaries of the first pages and both ends of the address space.
    private static readonly Gen<ulong> Addresses =
        from page in Gen.OneOf(Gen.Choose(0, 17).Select(p => (ulong)p), Gen.Choose(1, 4).Select(p => ulong.MaxValue - (ulong)p + 1), Gen.Constant(1UL << 40))
        from delta in Gen.OneOf(Gen.Choose(-9, 9), Gen.Choose(0, Page - 1))
        select unchecked(page * (ulong)Page + (ulong)(long)delta);

    private static readonly Gen<int> Lengths = Gen.OneOf(Gen.Choose(0, 16), Gen.Choose(-2, 3 * Page), Gen.Elements(int.MinValue, int.MaxValue));

    // Up to 16 pages of layout: 0 a hole, 1 RAM that starts a region, 2 RAM that goes on with one, 3 ROM.
    private static readonly Gen<int[]> Layouts = Gen.Choose(0, 3).ArrayOf(16);

    [Fact]
    public void Memory_agrees_with_a_byte_by_byte_model()
    {
        using var host = new HostMemory(16 * Page);
        var accesses = (from address in Addresses from length in Lengths select (address, length)).ArrayOf(40);
        Prop.ForAll(Layouts.ToArbitrary(), accesses.ToArbitrary(), (layout, list) =>
        {
            var (memory, owner, rom) = Build(layout, host.Address);
            foreach (var (address, length) in list)
            {
                bool inOneRegion = length >= 0 && InOneRegion(owner, address, length);
                bool writable = inOneRegion && !rom[(int)(address / Page)];
                if (memory.TryReadOnlySlice(address, length, out var read) != inOneRegion || read.Length != (inOneRegion ? length : 0))
                    return false;
                if (memory.TrySlice(address, length, out var write) != writable || write.Length != (writable ? length : 0))
                    return false;
                if (length >= 0 && memory.Contains(address, (ulong)length) != inOneRegion)
                    return false;
                if (memory.TryPointer(address, (ulong)Math.Max(0, length), false, out nint pointer) && length >= 0 && pointer != host.Address + (nint)address)
                    return false;
            }

            return true;
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void Memory_holds_what_was_written_last_and_nothing_else_changes()
    {
        using var host = new HostMemory(4 * Page);
        var memory = new GuestMemory([new GuestRegion(0, 4 * Page, host.Address)]);
        byte[] model = new byte[4 * Page];
        var writes = (from address in Gen.Choose(0, 4 * Page + 8) from data in Gen.Choose(0, 255).Select(v => (byte)v).ArrayOf() select (address, data)).ArrayOf(20);
        Prop.ForAll(writes.ToArbitrary(), list =>
        {
            foreach (var (address, data) in list)
            {
                if (memory.TryWrite((ulong)address, data))
                    data.CopyTo(model, address);
                else if (address + data.Length <= model.Length && address < model.Length)
                    return false;
            }

            byte[] all = new byte[model.Length];
            return memory.TryRead(0, all) && all.AsSpan().SequenceEqual(model);
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void Bus_agrees_with_a_table_of_every_address()
    {
        var changes = (from start in Gen.Choose(0, 255) from size in Gen.Choose(0, 20) from remove in Gen.Choose(0, 3) select (start, size, remove: remove == 0)).ArrayOf(40);
        Prop.ForAll(changes.ToArbitrary(), list =>
        {
            var bus = new IoBus();
            var table = new Numbered?[300];
            byte next = 1;
            foreach (var (start, size, remove) in list)
            {
                if (remove)
                {
                    bool starts = table[start] is { } there && there.Start == start;
                    if (bus.Remove((ulong)start) != starts)
                        return false;
                    if (starts)
                        Array.ForEach(Enumerable.Range(start, table[start]!.Size).ToArray(), i => table[i] = null);
                    continue;
                }

                var device = new Numbered(start, size, next++);
                bool free = size > 0 && table.AsSpan(start, size).IndexOfAnyExcept((Numbered?)null) < 0;
                if (bus.TryAdd((ulong)start, (ulong)size, device) != free)
                    return false;
                if (free)
                    table.AsSpan(start, size).Fill(device);
            }

            return Enumerable.Range(0, 280).All(address => Agrees(bus, table, address));
        }).QuickCheckThrowOnFailure();
    }

    private static bool Agrees(IoBus bus, Numbered?[] table, int address)
    {
        byte[] data = new byte[8];
        bus.Read((ulong)address, data);
        var owner = table[address];
        for (int i = 0; i < data.Length; i++)
        {
            bool within = owner is not null && table[address + i] == owner;
            if (data[i] != (within ? unchecked((byte)(owner!.Number + address - owner.Start)) : 0xff))
                return false;
        }

        return true;
    }

    private static (GuestMemory Memory, int[] Owner, bool[] Rom) Build(int[] layout, nint host)
    {
        var regions = new List<GuestRegion>();
        int[] owner = new int[layout.Length];
        bool[] rom = new bool[layout.Length];
        for (int page = 0; page < layout.Length; page++)
        {
            owner[page] = -1;
            if (layout[page] == 0)
                continue;
            rom[page] = layout[page] == 3;
            if (layout[page] == 2 && page > 0 && owner[page - 1] >= 0 && !rom[page - 1])
            {
                owner[page] = owner[page - 1];
                regions[^1] = regions[^1] with { Size = regions[^1].Size + Page };
                continue;
            }

            owner[page] = page;
            regions.Add(new GuestRegion((ulong)(page * Page), Page, host + page * Page, rom[page]));
        }

        regions.Reverse();
        return (new GuestMemory(regions), owner, rom);
    }

    private static bool InOneRegion(int[] owner, ulong address, int length)
    {
        if (address >= (ulong)(owner.Length * Page) || owner[(int)(address / Page)] < 0)
            return false;
        for (long at = (long)address; at < (long)address + length; at = (at / Page + 1) * Page)
        {
            if (at / Page >= owner.Length || owner[(int)(at / Page)] != owner[(int)(address / Page)])
                return false;
        }

        return true;
    }

    private sealed record Numbered(int Start, int Size, byte Number) : IBusDevice
    {
        public void Read(ulong offset, Span<byte> data)
        {
            for (int i = 0; i < data.Length; i++)
                data[i] = unchecked((byte)(Number + (int)offset));
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
        }
    }
}
