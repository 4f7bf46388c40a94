using System.Diagnostics;
using Kvm.Devices.Pci;
using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio;

namespace Kvm.Devices.Tests.Fuzz;

/// <summary>
/// A guest whose every act is chosen by bytes: registers of every width, descriptors, rings, notifications, moves to another device. Nothing it
/// does may throw, take long, touch a byte that is not its own, or keep a reset from mending the device.
/// </summary>
internal sealed class FuzzRun : IDisposable
{
    private const int QueueSize = 16, ArenaSize = 1 << 20, RingSpace = 0x4000, DataSpace = 0x80000;

    /// <summary>No input takes longer, however slow the host: an endless loop does.</summary>
    private static readonly TimeSpan MostTime = TimeSpan.FromSeconds(20);

    private readonly FuzzTarget _target;
    private readonly bool _pci;
    private readonly bool _packed;
    private readonly bool _transitional;
    private readonly GuestArena _arena = new(ArenaSize);
    private VirtioDevice _device;
    private GuestTransport _transport;
    private bool _wrap = true;
    private int _slot;
    private ushort _available;
    // The driver is one from before virtio 1.0: split rings, of the device's size.
    private bool _legacy;

    private FuzzRun(FuzzTarget target, bool pci, bool packed, bool transitional)
    {
        (_target, _pci, _packed, _transitional) = (target, pci, packed, transitional && target.HasLegacy);
        (_device, _transport) = Connect();
    }

    /// <summary>Where the run has been, for those who collect inputs.</summary>
    public int Signature => HashCode.Combine(_device.LastFault, Math.Min(_device.Breaks, 2), _device.IsActive, _device.NeedsReset, _target.Signature(_device));

    private bool UsesPacked => _packed && !_legacy;

    /// <summary>True if a request of a legacy driver's, in a run that began like that, is answered.</summary>
    public static bool AnswersLegacy(string target)
    {
        using var run = new FuzzRun(FuzzTarget.Create(target), pci: true, packed: false, transitional: true);
        run.StartLegacy(uint.MaxValue);
        run._arena.Allocate(DataSpace); // the rings
        var (queue, request) = run._target.GoodRequest(run._arena);
        ulong ring = Ring(queue), available = ring + run.AvailableOf(queue);
        for (int i = 0; i < request.Length; i++)
            run.Put(ring + (ulong)(i * 16), request[i].Address, request[i].Length, (ushort)((request[i].Writable ? 2 : 0) | (i < request.Length - 1 ? 1 : 0)), (ushort)(i + 1));
        run._arena.Set16(available + 2, 1);
        run.Notify(queue);
        ulong used = (available + 6 + 2 * (ulong)run.SizeOf(queue) + 4095) & ~4095UL;
        return run._arena.U16(used + 2) == 1;
    }

    /// <summary>Runs one input.</summary>
    /// <returns>What was wrong, or null; and the run's signature.</returns>
    public static (string? Wrong, int Signature) Execute(string target, ReadOnlySpan<byte> bytes)
    {
        var input = new FuzzInput(bytes);
        byte form = input.U8();
        using var run = new FuzzRun(FuzzTarget.Create(target), (form & 1) != 0, (form & 2) != 0, (form & 4) != 0);
        var clock = Stopwatch.StartNew();
        try
        {
            if ((form & 8) != 0)
                run.StartLegacy(uint.MaxValue);
            else
                run.Start(ulong.MaxValue);
            while (!input.IsEmpty && clock.Elapsed < MostTime)
                run.Step(ref input);
            int signature = HashCode.Combine(form & 15, run._legacy, run.Signature);
            return (clock.Elapsed < MostTime ? run.Verdict() : "it takes too long", signature);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            return (e.ToString(), 0);
        }
    }

    public void Dispose()
    {
        _target.Dispose();
        _arena.Dispose();
    }

    private (VirtioDevice Device, GuestTransport Transport) Connect()
    {
        var device = _target.Make(_arena);
        device.Schedule(new InlineScheduler());
        return (device, _pci ? new GuestPci(device, _transitional) : new GuestMmio(device));
    }

    private string? Verdict()
    {
        if (!_arena.IsTheHostIntact)
            return "memory outside the guest's was written";
        if (_target.Check(_arena) is { } wrong)
            return wrong;
        _device.Resume();
        _target.Mend(_device);
        RestoreAddresses();
        var driver = new FakeSplitDriver(_arena, 8, false, true);
        _transport.Status = 0;
        if (_transport.Status != 0)
            return "a reset leaves a status";
        _transport.Start(0, Enumerable.Repeat(driver, 1).Concat(Enumerable.Range(1, _device.QueueCount - 1).Select(_ => new FakeSplitDriver(_arena, 8, false, true))).ToArray());
        return Answers(driver) ? null : "after a reset the device does not answer";
    }

    private bool Answers(FakeSplitDriver first)
    {
        var (queue, request) = _target.GoodRequest(_arena);
        if (queue != 0)
        {
            first = new FakeSplitDriver(_arena, 8, false, true);
            _transport.Status = 0;
            _transport.Negotiate(GuestTransport.FeaturesOf(first));
            _transport.SetUp(queue, first);
            _transport.SetDriverOk();
        }

        first.Add(request);
        _transport.Notify(queue);
        return first.TakeUsed() is not null;
    }

    /// <summary>Puts a PCI function's registers back where they were: a guest may have moved or switched them off.</summary>
    private void RestoreAddresses()
    {
        if (_transport is not GuestPci guest)
            return;
        guest.SetConfig(4, 2, 0);
        guest.SetConfig(0x14, 4, 0xd000_0000);
        guest.SetConfig(0x20, 4, 0xd100_0000);
        guest.SetConfig(4, 2, 2);
        guest.SetConfig(guest.MsixCapability + 2, 2, 0);
    }

    private void Start(ulong features)
    {
        _transport.Negotiate((_device.OfferedFeatures & features & ~VirtioFeature.RingPacked) | VirtioFeature.Version1 | (_packed ? VirtioFeature.RingPacked : 0));
        for (int queue = 0; queue < _device.QueueCount; queue++)
        {
            ulong ring = Ring(queue);
            _arena.Bytes(ring, RingSpace).Clear();
            _transport.SetQueueSize(queue, QueueSize);
            _transport.SetQueueAddresses(queue, ring, ring + 0x1000, ring + 0x2000);
            _transport.EnableQueue(queue);
        }

        _transport.SetDriverOk();
        (_wrap, _slot, _available, _legacy) = (true, 0, 0, false);
    }

    /// <summary>As drivers from before virtio 1.0 do it (virtio 1.2, 4.1.4.10 and 2.7.2), where there is a window for them; else in the modern way.</summary>
    private void StartLegacy(uint features)
    {
        if (!_transitional || _transport is not GuestPci pci)
        {
            Start(features);
            return;
        }

        Span<byte> word = stackalloc byte[4];
        foreach (byte status in (ReadOnlySpan<byte>)[0, 1, 3])
            AccessPorts(pci, 0x12, [status], write: true);
        AccessPorts(pci, 0, word, write: false);
        BitConverter.TryWriteBytes(word, BitConverter.ToUInt32(word) & features);
        AccessPorts(pci, 4, word, write: true);
        for (int queue = 0; queue < _device.QueueCount; queue++)
        {
            _arena.Bytes(Ring(queue), RingSpace).Clear();
            AccessPorts(pci, 0x0e, [(byte)queue, 0], write: true);
            BitConverter.TryWriteBytes(word, (uint)(Ring(queue) >> 12));
            AccessPorts(pci, 8, word, write: true);
        }

        AccessPorts(pci, 0x12, [7], write: true);
        (_wrap, _slot, _available, _legacy) = (true, 0, 0, true);
    }

    private int SizeOf(int queue) => _legacy ? _device.MaxQueueSize(queue) : QueueSize;

    /// <summary>Where the available ring of a queue is: a legacy one follows the descriptors.</summary>
    private ulong AvailableOf(int queue) => _legacy ? 16 * (ulong)SizeOf(queue) : 0x1000;

    private void Notify(int queue)
    {
        if (_legacy && _transport is GuestPci pci)
            AccessPorts(pci, 0x10, [(byte)queue, 0], write: true);
        else
            _transport.Notify(queue);
    }

    /// <summary>Configuration space in memory: mostly the function's own, sometimes any function's or over the bus's end.</summary>
    private void AccessEcam(ref FuzzInput input)
    {
        if (_transport is not GuestPci pci)
            return;
        Span<byte> data = stackalloc byte[8];
        byte form = input.U8();
        ulong offset = (form & 0xc0) != 0 ? (GuestPci.Slot << 12) + (ulong)(input.U16() & ((form & 0x20) != 0 ? 0xff : 0xfff)) : input.U32() % (2 * PciEcam.BusSize);
        int width = 1 + (form & 7);
        BitConverter.TryWriteBytes(data, input.Number());
        var ecam = new PciEcam(pci.Bus);
        if ((form & 8) != 0)
            ecam.Write(offset, data[..width]);
        else
            ecam.Read(offset, data[..width]);
    }

    /// <summary>The legacy window, wherever the guest has put it.</summary>
    private static void AccessPorts(GuestPci pci, ulong offset, Span<byte> data, bool write)
    {
        ulong at = (pci.Config32(0x10) & ~3u) + offset;
        if (write)
            pci.Ports.Write(at, data);
        else
            pci.Ports.Read(at, data);
    }

    private static ulong Ring(int queue) => GuestArena.Base + (ulong)(queue * RingSpace);

    private void Step(ref FuzzInput input)
    {
        byte choice = input.U8();
        // The last of the numbers, so that older inputs stay what they were.
        if (choice >= 250)
        {
            AccessEcam(ref input);
            return;
        }

        if (choice >= 244)
        {
            StartLegacy((uint)input.Number());
            return;
        }

        switch (choice % 14)
        {
            case 0:
                Start(input.Number());
                break;
            case 1:
                Access(ref input, write: true);
                break;
            case 2:
                Access(ref input, write: false);
                break;
            case 3:
                WriteDescriptor(ref input);
                break;
            case 4 or 5 or 6:
                Offer(ref input);
                break;
            case 7:
                Notify(Queue(ref input));
                break;
            case 8:
                input.Fill(_arena.Bytes(GuestArena.Base + input.U32() % (ArenaSize - 16), 1 + input.U8() % 16));
                break;
            case 9:
                Move();
                break;
            case 10:
                _target.HostEvent(_device, ref input);
                break;
            case 11:
                Configure(ref input);
                break;
            case 12:
                _transport.ResetQueue(Queue(ref input));
                break;
            default:
                _transport.Status = input.U8();
                break;
        }
    }

    private int Queue(ref FuzzInput input) => input.U8() % _device.QueueCount;

    private void Access(ref FuzzInput input, bool write)
    {
        Span<byte> data = stackalloc byte[8];
        int offset = input.U16(), width = 1 + input.U8() % 8;
        BitConverter.TryWriteBytes(data, input.Number());
        if (_transport is GuestPci pci)
        {
            if (_transitional && (offset & 0xc000) == 0xc000)
            {
                AccessPorts(pci, (ulong)(offset & 0x7f), data[..width], write);
                return;
            }

            ulong at = pci.BarAddress((offset & 0x8000) != 0 ? 1 : 4) + (ulong)(offset & 0x7fff);
            if (write)
                pci.Mmio.Write(at, data[..width]);
            else
                pci.Mmio.Read(at, data[..width]);
        }
        else if (_transport is GuestMmio mmio)
        {
            if (write)
                mmio.Registers.Write((ulong)(offset % 0x1000), data[..width]);
            else
                mmio.Registers.Read((ulong)(offset % 0x1000), data[..width]);
        }
    }

    /// <summary>An address: mostly of the data's, sometimes of a ring's, seldom of nothing's.</summary>
    private static ulong Address(ref FuzzInput input) => input.U8() switch
    {
        < 200 => GuestArena.Base + DataSpace + input.U16() % 0x8000u,
        < 230 => GuestArena.Base + input.U32() % (ArenaSize + 4096),
        _ => input.Number(),
    };

    private void Put(ulong at, ulong address, uint length, ushort low, ushort high)
    {
        _arena.Set64(at, address);
        _arena.Set32(at + 8, length);
        _arena.Set16(at + 12, low);
        _arena.Set16(at + 14, high);
    }

    /// <summary>Any descriptor anywhere in a ring or in its indirect table.</summary>
    private void WriteDescriptor(ref FuzzInput input)
    {
        ulong at = Ring(Queue(ref input)) + (uint)((input.U8() & 1) * 0x3000 + input.U8() % QueueSize * 16);
        Put(at, Address(ref input), (uint)(input.Number() & uint.MaxValue), input.U16(), input.U16());
    }

    /// <summary>A chain that is nearly right: a header of the input's bytes, elements, flags with a bit turned now and then; offered and notified.</summary>
    private void Offer(ref FuzzInput input)
    {
        int queue = Queue(ref input), count = 1 + input.U8() % 5;
        ulong ring = Ring(queue), header = GuestArena.Base + DataSpace + (ulong)(input.U8() * 64);
        _target.Prepare(_arena, header, ref input);
        byte shape = input.U8();
        int readable = shape < 128 ? 1 + shape % count : shape % (count + 1), head = UsesPacked ? _slot : input.U8() % QueueSize;
        for (int i = 0; i < count; i++)
        {
            ulong address = i == 0 ? header : Address(ref input);
            uint length = i == 0 && shape < 160 ? shape % 4 == 0 ? 32u : 16u : Length(ref input);
            int flags = (i < count - 1 ? 1 : 0) | (i >= readable ? 2 : 0);
            byte odd = input.U8();
            flags ^= odd > 240 ? 1 << (odd & 3) : 0;
            if (UsesPacked)
                PutPacked(ring, address, length, flags, input.U8());
            else
                Put(ring + (ulong)((head + i) % QueueSize * 16), address, length, (ushort)flags, (ushort)((head + i + 1) % QueueSize));
        }

        if (!UsesPacked)
        {
            ulong available = ring + AvailableOf(queue);
            _arena.Set16(available + 4 + (ulong)(_available % SizeOf(queue) * 2), head);
            byte jump = input.U8();
            _available += (ushort)(jump < 230 ? 1 : jump);
            _arena.Set16(available + 2, _available);
        }

        Notify(queue);
    }

    private static uint Length(ref FuzzInput input) => input.U8() switch
    {
        < 60 => 1,
        < 120 => 512,
        < 180 => 4096,
        < 220 => input.U16(),
        _ => (uint)(input.Number() & uint.MaxValue),
    };

    private void PutPacked(ulong ring, ulong address, uint length, int flags, byte odd)
    {
        if (odd < 240)
            flags |= _wrap ? 0x80 : 0x8000;
        Put(ring + (ulong)(_slot * 16), address, length, (ushort)(odd % QueueSize), (ushort)flags);
        if (++_slot == QueueSize)
            (_slot, _wrap) = (0, !_wrap);
    }

    private void Configure(ref FuzzInput input)
    {
        Span<byte> data = stackalloc byte[8];
        int offset = input.U8(), width = 1 << input.U8() % 4;
        BitConverter.TryWriteBytes(data, input.Number());
        if (_transport is GuestPci pci && (offset & 1) != 0)
            pci.Bus.WriteConfig(GuestPci.Slot, offset & 0xfc, data[..Math.Min(width, 4)]);
        else if (_device.ConfigSize > 0)
            _transport.WriteConfig(offset, data[..width]);
    }

    /// <summary>Saves, and goes on with a new device that the record is given to.</summary>
    private void Move()
    {
        _device.Pause();
        var (device, transport) = Connect();
        foreach (var (from, to) in _transport.Parts.Zip(transport.Parts))
        {
            if (!to.RestoreState(from.SaveState()))
                throw new InvalidOperationException($"{from.StateName} does not take its own record back");
        }

        (_device, _transport) = (device, transport);
        device.Resume();
    }
}
