using System.Buffers.Binary;
using System.Text;
using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Devices.Tests.Block;
using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Block;

namespace Kvm.Devices.Tests.Virtio.Block;

public abstract class BlockDeviceTests : IDisposable
{
    private const int Sectors = 2048;

    private readonly MemoryFile _file;
    private readonly RawImage _image;

    protected BlockDeviceTests(bool asynchronous) =>
        _image = new RawImage(_file = new MemoryFile(Sectors * 512) { Asynchronous = asynchronous });

    public static TheoryData<bool, bool> PciAndPacked => new() { { false, false }, { false, true }, { true, false }, { true, true } };

    public void Dispose() => _image.Dispose();

    private static byte[] Pattern(int length, int seed = 1)
    {
        byte[] pattern = new byte[length];
        new Random(seed).NextBytes(pattern);
        return pattern;
    }

    [Theory]
    [MemberData(nameof(PciAndPacked))]
    public void Written_sectors_are_in_the_file_and_read_back(bool pci, bool packed)
    {
        using var guest = new BlockGuest(_image, pci: pci, packed: packed);
        byte[] pattern = Pattern(4096), read = new byte[4096];
        guest.Write(10, pattern).Should().Be(BlockGuest.Ok);
        guest.Written.Should().Be(1, "the status");
        _file.Bytes.Slice(5120, 4096).ToArray().Should().Equal(pattern);
        guest.Read(10, read).Should().Be(BlockGuest.Ok);
        guest.Written.Should().Be(4097);
        read.Should().Equal(pattern);
        guest.Device.Counters.Should().Be(new BlockCounters(1, 1, 0, 0, 4096, 4096));
    }

    [Fact]
    public void Request_cut_into_one_byte_elements_is_the_same_request()
    {
        using var guest = new BlockGuest(_image, new BlockOptions { QueueSize = 1024 });
        byte[] pattern = Pattern(512);
        _file.Bytes.Slice(512, 512).Clear();
        ulong header = guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.Out, 1)), data = guest.Arena.AllocateFilled(pattern), status = guest.Arena.AllocateFilled([9]);
        var elements = new List<Element>();
        for (ulong i = 0; i < 16; i++)
            elements.Add(Element.Out(header + i, 1));
        for (ulong i = 0; i < 512; i += 2)
            elements.Add(Element.Out(data + i, 2));
        elements.Add(Element.In(status, 1));
        guest.Run(0, status, elements.ToArray()).Should().Be(BlockGuest.Ok);
        _file.Bytes.Slice(512, 512).ToArray().Should().Equal(pattern);
    }

    [Fact]
    public void Header_data_and_status_in_one_writable_and_one_readable_element_are_told_apart()
    {
        using var guest = new BlockGuest(_image);
        byte[] pattern = Pattern(512);
        ulong write = guest.Arena.AllocateFilled([.. BlockGuest.Header(BlockGuest.Out, 7), .. pattern]), status = guest.Arena.AllocateFilled([9]);
        guest.Run(0, status, Element.Out(write, 16 + 512), Element.In(status, 1)).Should().Be(BlockGuest.Ok);
        ulong header = guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.In, 7)), answer = guest.Arena.Allocate(513);
        guest.Run(0, answer + 512, Element.Out(header, 16), Element.In(answer, 513)).Should().Be(BlockGuest.Ok);
        guest.Arena.Bytes(answer, 512).ToArray().Should().Equal(pattern);
        guest.Written.Should().Be(513);
    }

    [Fact]
    public void Id_is_padded_with_zeros_to_twenty_bytes_and_cut_to_the_buffer()
    {
        using var guest = new BlockGuest(_image, new BlockOptions { Id = "vol-0123" });
        byte[] id = new byte[20];
        guest.Receive(BlockGuest.GetId, 0, id).Should().Be(BlockGuest.Ok);
        Encoding.ASCII.GetString(id).Should().Be("vol-0123" + new string('\0', 12));
        guest.Written.Should().Be(21);
        guest.Receive(BlockGuest.GetId, 0, id.AsSpan(0, 3)).Should().Be(BlockGuest.Ok);
        byte[] wide = new byte[64];
        Array.Fill(wide, (byte)'x');
        guest.Receive(BlockGuest.GetId, 0, wide).Should().Be(BlockGuest.Ok);
        guest.Written.Should().Be(20);
        using var other = new BlockGuest(_image, new BlockOptions { Id = "abcdefghijklmnopqrstuvwxyz" });
        other.Receive(BlockGuest.GetId, 0, id);
        Encoding.ASCII.GetString(id).Should().Be("abcdefghijklmnopqrst");
    }

    [Theory]
    [InlineData(2u)]
    [InlineData(3u)]
    [InlineData(5u)]
    [InlineData(10u)]
    [InlineData(14u)]
    [InlineData(0x8000_0000u)]
    [InlineData(uint.MaxValue)]
    public void Unknown_type_is_unsupported(uint type)
    {
        using var guest = new BlockGuest(_image);
        guest.Send(type, 0, new byte[512]).Should().Be(BlockGuest.Unsupported);
        guest.Device.Counters.Errors.Should().Be(1);
    }

    [Fact]
    public void Discard_makes_a_hole_and_write_zeroes_zeros()
    {
        using var guest = new BlockGuest(_image);
        _file.Bytes.Fill(7);
        guest.Send(BlockGuest.Discard, 0, [.. BlockGuest.Range(8, 8), .. BlockGuest.Range(24, 16)]).Should().Be(BlockGuest.Ok);
        _file.Holes.Should().Be(3);
        guest.Send(BlockGuest.WriteZeroes, 0, BlockGuest.Range(100, 3)).Should().Be(BlockGuest.Ok);
        _file.Bytes.Slice(51_200, 1536).IndexOfAnyExcept((byte)0).Should().Be(-1);
        guest.Send(BlockGuest.WriteZeroes, 0, BlockGuest.Range(200, 1, flags: 1)).Should().Be(BlockGuest.Ok);
        guest.Send(BlockGuest.WriteZeroes, 0, BlockGuest.Range(Sectors, 0)).Should().Be(BlockGuest.Ok, "nothing at the very end");
        (_file.Bytes[51_199], _file.Bytes[51_200 + 1536]).Should().Be(((byte)7, (byte)7));
    }

    [Theory]
    [InlineData(BlockGuest.Discard, 1u)]
    [InlineData(BlockGuest.Discard, 2u)]
    [InlineData(BlockGuest.WriteZeroes, 2u)]
    [InlineData(BlockGuest.WriteZeroes, 0x8000_0001u)]
    public void Unknown_flag_of_a_range_is_unsupported_and_nothing_of_the_request_is_done(uint type, uint flags)
    {
        using var guest = new BlockGuest(_image);
        _file.Bytes.Fill(7);
        guest.Send(type, 0, [.. BlockGuest.Range(8, 8), .. BlockGuest.Range(16, 8, flags)]).Should().Be(BlockGuest.Unsupported);
        _file.Bytes.IndexOfAnyExcept((byte)7).Should().Be(-1);
    }

    [Fact]
    public void Read_only_disk_says_so_and_fails_every_change()
    {
        using var guest = new BlockGuest(_image, new BlockOptions { ReadOnly = true });
        (guest.Device.OfferedFeatures & 1 << 5).Should().NotBe(0);
        (guest.Device.OfferedFeatures & (1 << 13 | 1 << 14)).Should().Be(0);
        guest.Write(0, new byte[512]).Should().Be(BlockGuest.IoError);
        guest.Send(BlockGuest.Discard, 0, BlockGuest.Range(0, 1)).Should().Be(BlockGuest.IoError);
        guest.Send(BlockGuest.WriteZeroes, 0, BlockGuest.Range(0, 1)).Should().Be(BlockGuest.IoError);
        guest.Read(0, new byte[512]).Should().Be(BlockGuest.Ok);
        guest.Send(BlockGuest.Flush, 0, []).Should().Be(BlockGuest.Ok);
        _file.Calls.Should().Equal(FileCall.Read, FileCall.Flush);
        using var file = new MemoryFile(512, readOnly: true);
        using var image = new RawImage(file);
        using var other = new BlockGuest(image);
        other.Write(0, new byte[512]).Should().Be(BlockGuest.IoError, "the image says it too");
    }

    [Fact]
    public void Configuration_tells_capacity_limits_and_topology()
    {
        using var guest = new BlockGuest(_image, new BlockOptions { Queues = 3, QueueSize = 64 });
        byte[] config = new byte[60];
        for (int i = 0; i < config.Length; i += 4)
            guest.Transport.ReadConfig(i, config.AsSpan(i, 4));
        BinaryPrimitives.ReadUInt64LittleEndian(config).Should().Be(Sectors);
        BitConverter.ToUInt32(config, 12).Should().Be(62, "seg_max: the ring less header and status");
        BitConverter.ToUInt32(config, 20).Should().Be(512);
        (config[24], BitConverter.ToUInt16(config, 26)).Should().Be(((byte)3, (ushort)8), "blocks of 4096");
        config[32].Should().Be(1, "writeback");
        BitConverter.ToUInt16(config, 34).Should().Be(3);
        BitConverter.ToUInt32(config, 36).Should().Be(1 << 21, "max_discard_sectors");
        BitConverter.ToUInt32(config, 40).Should().Be(32);
        BitConverter.ToUInt32(config, 44).Should().Be(8);
        BitConverter.ToUInt32(config, 48).Should().Be(1 << 21);
        BitConverter.ToUInt32(config, 52).Should().Be(32);
        config[56].Should().Be(1);
        (config[33], config[57], config[58], config[59]).Should().Be(((byte)0, (byte)0, (byte)0, (byte)0));
    }

    [Fact]
    public async Task Queues_run_on_threads_of_their_own_at_once()
    {
        using var guest = new BlockGuest(_image, new BlockOptions { Queues = 2 });
        using var both = new Barrier(2);
        bool met = true;
        _file.InTheMiddle = () => met &= both.SignalAndWait(TimeSpan.FromSeconds(20));
        byte[] header = BlockGuest.Header(BlockGuest.In, 0);
        foreach (var driver in guest.Drivers)
            driver.Add(Element.Out(guest.Arena.AllocateFilled(header), 16), Element.In(guest.Arena.Allocate(513), 513));
        var threads = new[] { 0, 1 }.Select(q => Task.Run(() => guest.Device.ProcessQueue(q))).ToArray();
        await Task.WhenAll(threads);
        met.Should().BeTrue("each waits for the other in the middle of its request");
        guest.Drivers.Should().OnlyContain(d => d.TakeUsed() != null);
    }

    [Theory]
    [MemberData(nameof(PciAndPacked))]
    public async Task Reset_with_a_request_in_flight_waits_for_it_and_the_file_is_left_alone_afterwards(bool pci, bool packed)
    {
        using var guest = new BlockGuest(_image, pci: pci, packed: packed);
        using var entered = new ManualResetEventSlim();
        using var leave = new ManualResetEventSlim();
        _file.InTheMiddle = () =>
        {
            entered.Set();
            leave.Wait(TimeSpan.FromSeconds(30));
        };
        ulong header = guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.Out, 0)), data = guest.Arena.Allocate(512), status = guest.Arena.Allocate(1);
        for (int i = 0; i < 3; i++)
            guest.Drivers[0].Add(Element.Out(header, 16), Element.Out(data, 512), Element.In(status, 1));
        var worker = Task.Run(() => guest.Device.ProcessQueue(0));
        bool began = entered.Wait(TimeSpan.FromSeconds(30));
        var reset = Task.Run(() => guest.Transport.Status = 0);
        bool asked = SpinWait.SpinUntil(() => guest.Device.IsStopRequested(0), TimeSpan.FromSeconds(30));
        bool waited = !reset.IsCompleted;
        leave.Set();
        await Task.WhenAll(worker, reset).WaitAsync(TimeSpan.FromSeconds(30));
        (began, asked).Should().Be((true, true));
        waited.Should().BeTrue("a request was still with the file");
        _file.Calls.Should().HaveCount(_file.Asynchronous ? 3 : 1, "what was not yet taken when the reset came never is");

        byte[] memory = guest.Arena.Bytes(GuestArena.Base, guest.Arena.Size).ToArray(), file = _file.Bytes.ToArray();
        int calls = _file.Calls.Count;
        guest.Device.ProcessQueue(0).Should().BeFalse();
        guest.Device.PollQueue(0).Should().BeFalse();
        _file.Calls.Count.Should().Be(calls);
        guest.Arena.Bytes(GuestArena.Base, guest.Arena.Size).SequenceEqual(memory).Should().BeTrue();
        _file.Bytes.SequenceEqual(file).Should().BeTrue();
    }

    [Fact]
    public void Host_errors_are_the_guest_s_io_errors_and_the_next_request_works()
    {
        using var guest = new BlockGuest(_image);
        foreach (var error in (HostFileError[])[HostFileError.Failed, HostFileError.NoSpace])
        {
            _file.Inject = (_, _, _) => new HostFileResult(0, error);
            guest.Write(0, new byte[512]).Should().Be(BlockGuest.IoError);
            byte[] data = new byte[512];
            guest.Read(0, data).Should().Be(BlockGuest.IoError);
            guest.Written.Should().Be(0, "nothing is known of the data, so of the status behind it neither (2.7.8.2)");
            guest.Send(BlockGuest.Flush, 0, []).Should().Be(BlockGuest.IoError);
            guest.Send(BlockGuest.Discard, 0, BlockGuest.Range(0, 8)).Should().Be(BlockGuest.IoError);
            guest.Send(BlockGuest.WriteZeroes, 0, BlockGuest.Range(0, 8)).Should().Be(BlockGuest.IoError);
            _file.Inject = null;
            guest.Read(0, data).Should().Be(BlockGuest.Ok);
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1025)]
    [InlineData(2048)]
    [InlineData(3)]
    public void Impossible_queue_size_is_refused_at_set_up(int size)
    {
        using var arena = new GuestArena();
        var make = () => new BlockDevice("disk0", arena.Memory, _image, new BlockOptions { QueueSize = size });
        make.Should().Throw<ArgumentException>();
        var none = () => new BlockDevice("disk0", arena.Memory, _image, new BlockOptions { Queues = 0 });
        none.Should().Throw<ArgumentException>();
    }

    [Fact]
    public void Disk_saved_between_requests_goes_on_in_another()
    {
        using var guest = new BlockGuest(_image, pci: true);
        guest.Write(1, Pattern(512)).Should().Be(BlockGuest.Ok);
        guest.Transport.WriteConfig(32, [0]);
        guest.Device.Pause();
        var second = new BlockDevice("disk0", guest.Arena.Memory, _image, new BlockOptions());
        second.Schedule(new InlineScheduler());
        var moved = GuestTransport.Make(true, second);
        foreach (var (from, to) in guest.Transport.Parts.Zip(moved.Parts))
            to.RestoreState(from.SaveState()).Should().BeTrue();
        second.Resume();
        byte[] writeback = new byte[1];
        moved.ReadConfig(32, writeback);
        writeback[0].Should().Be(0);
        var driver = guest.Drivers[0];
        ulong header = guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.In, 1)), answer = guest.Arena.Allocate(513);
        driver.Add(Element.Out(header, 16), Element.In(answer, 513));
        moved.Notify(0);
        driver.TakeUsed().Should().NotBeNull();
        guest.Arena.Bytes(answer, 512).ToArray().Should().Equal(Pattern(512));
    }

    [Theory]
    [MemberData(nameof(PciAndPacked))]
    public async Task Disk_saved_again_and_again_while_a_thread_works_on_it_answers_every_request_once(bool pci, bool packed)
    {
        using var guest = new DeviceGuest<BlockDevice>(arena => new BlockDevice("disk0", arena.Memory, _image, new BlockOptions()), pci: pci, packed: packed, size: 64);
        var make = (GuestArena arena) => new BlockDevice("disk0", arena.Memory, _image, new BlockOptions());
        ulong data = guest.Arena.Allocate(64 * 513);
        int answered = 0, offered = 0;
        using var stop = new CancellationTokenSource();
        var current = guest.Device;
        // The host's thread, which never stops looking for work while devices come and go.
        var worker = Task.Run(() =>
        {
            while (!stop.IsCancellationRequested)
                Volatile.Read(ref current).ProcessQueue(0);
        });
        for (int round = 0; round < 200; round++)
        {
            while (offered - answered < 16)
            {
                byte[] header = BlockGuest.Header(BlockGuest.Out, (ulong)(offered % Sectors));
                ulong at = data + (ulong)(offered % 64 * 513);
                BitConverter.TryWriteBytes(guest.Arena.Bytes(at, 512), offered);
                guest.Arena.Bytes(at + 512, 1)[0] = BlockGuest.Untouched;
                guest.Drivers[0].Add(guest.Out(header), Element.Out(at, 512), Element.In(at + 512, 1));
                offered++;
            }

            guest.Move(make);
            Volatile.Write(ref current, guest.Device);
            answered += guest.Drivers[0].TakeAllUsed().Count;
        }

        SpinWait.SpinUntil(() => (answered += guest.Drivers[0].TakeAllUsed().Count) == offered, TimeSpan.FromSeconds(30)).Should().BeTrue();
        await stop.CancelAsync();
        await worker;
        guest.Device.NeedsReset.Should().BeFalse();
        for (int i = Math.Max(0, offered - Sectors); i < offered; i++)
            BitConverter.ToInt32(_file.Bytes[(i % Sectors * 512)..]).Should().Be(i);
        _file.Calls.Count(c => c == FileCall.Write).Should().Be(offered, "none is done twice");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Ten_thousand_requests_allocate_nothing(bool packed)
    {
        using var image = new NullImage(1 << 30);
        using var guest = new BlockGuest(image, packed: packed);
        var driver = guest.Drivers[0];
        ulong read = guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.In, 8)), write = guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.Out, 8));
        ulong zero = guest.Arena.AllocateFilled([.. BlockGuest.Header(BlockGuest.WriteZeroes, 0), .. BlockGuest.Range(1, 1)]);
        ulong data = guest.Arena.Allocate(4096), status = guest.Arena.Allocate(1);
        Element[][] requests =
        [
            [Element.Out(read, 16), Element.In(data, 4096), Element.In(status, 1)],
            [Element.Out(write, 16), Element.Out(data, 4096), Element.In(status, 1)],
            [Element.Out(zero, 32), Element.In(status, 1)],
            [Element.Out(data, 7), Element.In(status, 1)],
        ];
        Allocation.Of(i =>
        {
            driver.TryAdd(requests[i & 3], out _);
            guest.Device.ProcessQueue(0);
            while (driver.TakeUsed() is not null)
            {
            }
        }).Should().Be(0);
        guest.Device.Counters.Reads.Should().BeGreaterThan(2_500);
        guest.Device.Counters.Errors.Should().BeGreaterThan(2_500);
    }
}

/// <inheritdoc/>
public sealed class SynchronousBlockDeviceTests() : BlockDeviceTests(asynchronous: false);

/// <inheritdoc/>
public sealed class AsynchronousBlockDeviceTests() : BlockDeviceTests(asynchronous: true);
