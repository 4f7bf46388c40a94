using System.Buffers.Binary;
using Kvm.Devices.Block;
using Kvm.Devices.Block.Scheduling;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Block;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Virtio;

namespace Kvm.Vmm.Tests.Virtio;

/// <summary>A driver's side of a ring, a disk with a thread of its own, and a real io_uring on a file.</summary>
public sealed class UringDiskTests : IDisposable
{
    private const int Slots = 16, SlotBytes = 8192, Sectors = Slots * SlotBytes / 512;
    private const uint Read = 0, Write = 1, Flush = 4;

    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(60);

    private readonly string _path = Path.GetTempFileName();
    private readonly GuestArena _arena = new(4 << 20);
    private readonly Random _random = new(11);
    private readonly List<string> _failures = [];
    private readonly ulong _headers, _data, _status;
    private FakeDriver _driver;
    private ScheduledImage? _image;
    private BlockDevice? _device;
    private DeviceThread? _thread;
    private GuestTransport? _transport;

    public UringDiskTests()
    {
        File.WriteAllBytes(_path, new byte[Sectors * 512]);
        _driver = FakeDriver.Make(false, _arena, 64);
        (_headers, _data, _status) = (_arena.Allocate(Slots * 16), _arena.Allocate(Slots * SlotBytes, 4096), _arena.Allocate(Slots));
    }

    /// <summary>With and without the page cache: the kernel ends operations on other threads in the one case than in the other.</summary>
    public static TheoryData<DiskCache> Caches => new(DiskCache.WriteBack, DiskCache.None);

    private BlockDevice Device => _device!;

    private GuestTransport Transport => _transport!;

    public void Dispose()
    {
        _thread?.Dispose();
        _image?.Dispose();
        _arena.Dispose();
        File.Delete(_path);
    }

    /// <summary>The orders requests may be put in.</summary>
    public static TheoryData<DiskCache, IoDiscipline> Disciplines => new()
    {
        { DiskCache.WriteBack, IoDiscipline.None }, { DiskCache.None, IoDiscipline.None }, { DiskCache.WriteBack, IoDiscipline.Deadline },
        { DiskCache.None, IoDiscipline.Deadline }, { DiskCache.WriteBack, IoDiscipline.Fair }, { DiskCache.None, IoDiscipline.Fair },
    };

    private void Start(DiskCache cache, IoDiscipline discipline = IoDiscipline.None)
    {
        HostFile file;
        try
        {
            file = HostFile.Open(new DiskConfig { Path = _path, Cache = cache, Aio = DiskAio.Uring });
        }
        catch (VmmException e) when (e.Error == DiskErrors.NoDirect)
        {
            throw new SkipException("the temporary folder's file system has no O_DIRECT");
        }

        var scheduled = new ScheduledImage(new RawImage(file), discipline, HostDisks.Of(file.Identity), DiskConfig.DefaultWeight, TimeProvider.System);
        _image = scheduled;
        _device = new BlockDevice("disk0", _arena.Memory, _image, new BlockOptions { QueueSize = 64, Cache = cache });
        Skip.IfNot(_device.IsAsynchronous, $"io_uring: {file.QueueProblem}");
        _thread = new DeviceThread(_device, _failures.Add);
        _device.Schedule(_thread);
        file.SignalBy(_thread.BellOf);
        scheduled.WakeBy(queue => () => _thread.BellOf(queue).Signal());
        _transport = GuestTransport.Make(false, _device);
        _transport.Start(_device.OfferedFeatures & 0xff_ffff, _driver);
    }

    private Span<byte> DataOf(int slot) => _arena.Bytes(_data + (ulong)(slot * SlotBytes), SlotBytes);

    /// <summary>Asks for all of a slot's part of the disk.</summary>
    private ushort Ask(uint type, int slot)
    {
        var header = _arena.Bytes(_headers + (ulong)(slot * 16), 16);
        BinaryPrimitives.WriteUInt32LittleEndian(header, type);
        BinaryPrimitives.WriteUInt64LittleEndian(header[8..], type == Flush ? 0 : (ulong)(slot * SlotBytes / 512));
        _arena.Bytes(_status + (ulong)slot, 1)[0] = 0xee;
        Element status = Element.In(_status + (ulong)slot, 1), front = Element.Out(_headers + (ulong)(slot * 16), 16);
        return type == Flush
            ? _driver.Add(front, status)
            : _driver.Add(front, new Element(_data + (ulong)(slot * SlotBytes), SlotBytes, type == Read), status);
    }

    private void Notify()
    {
        if (_driver.MustNotify())
            Transport.Notify(0);
    }

    /// <summary>Waits until so many answers have come.</summary>
    private void Await(int answers)
    {
        int came = 0;
        SpinWait.SpinUntil(() => (came += _driver.TakeAllUsed().Count) >= answers, s_limit).Should().BeTrue();
        came.Should().Be(answers);
    }

    [SkippableTheory]
    [MemberData(nameof(Disciplines))]
    public void Writes_flushes_and_reads_of_a_driver_are_answered_and_are_in_the_file(DiskCache cache, IoDiscipline discipline)
    {
        Start(cache, discipline);
        byte[] model = new byte[Sectors * 512];
        for (int round = 0; round < 200; round++)
        {
            for (int slot = 0; slot < Slots - 1; slot++)
            {
                _random.NextBytes(DataOf(slot));
                DataOf(slot).CopyTo(model.AsSpan(slot * SlotBytes));
                Ask(Write, slot);
            }

            Ask(Flush, Slots - 1);
            Notify();
            Await(Slots);
            for (int slot = 0; slot < Slots; slot++)
            {
                DataOf(slot).Clear();
                Ask(Read, slot);
            }

            Notify();
            Await(Slots);
            for (int slot = 0; slot < Slots; slot++)
                DataOf(slot).SequenceEqual(model.AsSpan(slot * SlotBytes, SlotBytes)).Should().BeTrue();
            _arena.Bytes(_status, Slots).IndexOfAnyExcept((byte)0).Should().Be(-1);
        }

        File.ReadAllBytes(_path).Should().Equal(model);
        Device.MostUnderWay.Should().BeGreaterThan(1);
        _failures.Should().BeEmpty();
    }

    [SkippableTheory]
    [MemberData(nameof(Caches))]
    public void Nothing_of_a_driver_that_reset_its_disk_touches_memory_afterwards(DiskCache cache)
    {
        Start(cache);
        for (int slot = 0; slot < Slots; slot++)
            DataOf(slot).Fill(1);
        for (int slot = 0; slot < Slots; slot++)
            Ask(Write, slot);
        Notify();
        Await(Slots);
        for (int round = 0; round < 300; round++)
        {
            for (int slot = 0; slot < Slots; slot++)
                Ask(slot % 5 == 4 ? Flush : slot % 2 == 0 ? Read : Write, slot);
            Notify();
            if (round % 3 == 0)
                Device.ProcessQueue(0);
            Transport.Status = 0;
            // What came after this would be seen.
            for (int slot = 0; slot < Slots; slot++)
                DataOf(slot).Fill(2);
            _arena.Bytes(_status, Slots).Fill(2);
            _driver = FakeDriver.Make(false, _arena, 64);
            Transport.Start(Device.OfferedFeatures & 0xff_ffff, _driver);
            Ask(Flush, 0);
            Notify();
            Await(1);
            for (int slot = 0; slot < Slots; slot++)
                DataOf(slot).IndexOfAnyExcept((byte)2).Should().Be(-1);
            _arena.Bytes(_status + 1, Slots - 1).IndexOfAnyExcept((byte)2).Should().Be(-1);
            for (int slot = 0; slot < Slots; slot++)
                DataOf(slot).Fill(1);
        }

        File.ReadAllBytes(_path).AsSpan().IndexOfAnyExcept((byte)1).Should().Be(-1, "every write, done or given up, was of ones");
        _failures.Should().BeEmpty();
    }

    [SkippableTheory]
    [MemberData(nameof(Caches))]
    public void Disk_paused_and_resumed_in_the_middle_of_traffic_answers_everything_once(DiskCache cache)
    {
        Start(cache);
        for (int round = 0; round < 200; round++)
        {
            for (int slot = 0; slot < Slots; slot++)
                Ask(slot % 7 == 6 ? Flush : slot % 2 == 0 ? Read : Write, slot);
            Notify();
            Device.Pause();
            foreach (var part in Transport.Parts)
                part.Save(new Kvm.Devices.Snapshot.StateWriter());
            Device.Resume();
            Await(Slots);
        }

        Device.Counters.Errors.Should().Be(0);
        _failures.Should().BeEmpty();
    }
}
