using System.Runtime.InteropServices;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Devices.Tests.Block;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Block;

namespace Kvm.Devices.Tests.Virtio.Block;

/// <summary>Requests no driver should make. None changes a byte of the disk that it may not, none throws.</summary>
public abstract class BlockHostileTests : IDisposable
{
    private const int Sectors = 64;

    private readonly MemoryFile _file;
    private readonly RawImage _image;
    private readonly BlockGuest _guest;

    protected BlockHostileTests(bool asynchronous)
    {
        _image = new RawImage(_file = new MemoryFile(Sectors * 512) { Asynchronous = asynchronous });
        _file.Bytes.Fill(7);
        _guest = new BlockGuest(_image);
    }

    public void Dispose()
    {
        _guest.Dispose();
        _image.Dispose();
    }

    private void DiskIsUntouched() => _file.Bytes.IndexOfAnyExcept((byte)7).Should().Be(-1);

    [Theory]
    [InlineData(Sectors, 512)]
    [InlineData(Sectors - 1, 1024)]
    [InlineData(ulong.MaxValue, 512)]
    [InlineData(ulong.MaxValue / 512 + 1, 512)] // 2⁵⁵: × 512 wraps to 0
    [InlineData(0, 511)]
    [InlineData(0, 513)]
    [InlineData(0, 1)]
    public void Sectors_outside_the_disk_and_parts_of_sectors_are_io_errors(ulong sector, int length)
    {
        _guest.Write(sector, new byte[length]).Should().Be(BlockGuest.IoError);
        _guest.Read(sector, new byte[length]).Should().Be(BlockGuest.IoError);
        _file.Calls.Should().BeEmpty();
        DiskIsUntouched();
    }

    [Fact]
    public void Transfer_of_nothing_inside_the_disk_is_done()
    {
        _guest.Send(BlockGuest.Out, Sectors, []).Should().Be(BlockGuest.Ok);
        _guest.Send(BlockGuest.In, 0, []).Should().Be(BlockGuest.Ok);
        DiskIsUntouched();
    }

    [Fact]
    public void Request_without_a_status_byte_is_used_and_not_executed()
    {
        ulong request = _guest.Arena.AllocateFilled([.. BlockGuest.Header(BlockGuest.Out, 0), .. new byte[512]]);
        _guest.Run(0, request, Element.Out(request, 16 + 512));
        _guest.Written.Should().Be(0);
        DiskIsUntouched();
    }

    [Fact]
    public void Request_whose_status_is_outside_memory_is_used_and_not_executed()
    {
        ulong request = _guest.Arena.AllocateFilled([.. BlockGuest.Header(BlockGuest.Out, 0), .. new byte[512]]);
        _guest.Run(0, request, Element.Out(request, 16 + 512), Element.In(0xfee0_0000, 1));
        _guest.Written.Should().Be(0);
        DiskIsUntouched();
        _guest.Device.NeedsReset.Should().BeFalse();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(15)]
    public void Request_with_part_of_a_header_is_an_io_error(uint length)
    {
        ulong header = _guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.Out, 0)), status = _guest.Arena.AllocateFilled([9]);
        _guest.Run(0, status, Element.Out(header, length), Element.In(status, 1)).Should().Be(BlockGuest.IoError);
    }

    [Fact]
    public void Request_of_a_status_byte_alone_is_an_io_error()
    {
        ulong status = _guest.Arena.AllocateFilled([9]);
        _guest.Run(0, status, Element.In(status, 1)).Should().Be(BlockGuest.IoError);
    }

    [Theory]
    [InlineData(0xfee0_0000UL, 512u)] // device space
    [InlineData(GuestArena.Base + (8 << 20) - 511, 512u)] // over the end of memory
    [InlineData(ulong.MaxValue - 511, 512u)]
    [InlineData(GuestArena.Base, 0xffff_fe00u)] // as long as the address space
    public void Data_outside_memory_is_an_io_error_and_the_disk_untouched(ulong address, uint length)
    {
        ulong write = _guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.Out, 0)), read = _guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.In, 0));
        ulong status = _guest.Arena.AllocateFilled([9]);
        _guest.Run(0, status, Element.Out(write, 16), Element.Out(address, length), Element.In(status, 1)).Should().Be(BlockGuest.IoError);
        _guest.Arena.Bytes(status, 1)[0] = 9;
        _guest.Run(0, status, Element.Out(read, 16), Element.In(address, length), Element.In(status, 1)).Should().Be(BlockGuest.IoError);
        _file.Calls.Should().BeEmpty();
        DiskIsUntouched();
    }

    [Theory]
    [InlineData(0, 65u)]
    [InlineData(64, 1u)]
    [InlineData(1, uint.MaxValue)]
    [InlineData(ulong.MaxValue, 1u)]
    [InlineData(ulong.MaxValue / 512 + 1, 1u)]
    [InlineData(ulong.MaxValue, uint.MaxValue)]
    public void Range_outside_the_disk_is_an_io_error(ulong sector, uint count)
    {
        _guest.Send(BlockGuest.Discard, 0, BlockGuest.Range(sector, count)).Should().Be(BlockGuest.IoError);
        _guest.Send(BlockGuest.WriteZeroes, 0, [.. BlockGuest.Range(0, 1), .. BlockGuest.Range(sector, count)]).Should().Be(BlockGuest.IoError);
        DiskIsUntouched();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(15)]
    [InlineData(17)]
    [InlineData(33 * 16)] // one more than max_discard_seg
    [InlineData(65_536 * 16)]
    public void Ranges_of_a_length_that_cannot_be_are_an_io_error(int length)
    {
        _guest.Send(BlockGuest.Discard, 0, new byte[length]).Should().Be(BlockGuest.IoError);
        _guest.Send(BlockGuest.WriteZeroes, 0, new byte[length]).Should().Be(BlockGuest.IoError);
        DiskIsUntouched();
    }

    [Theory]
    [InlineData(BlockGuest.Discard, false)]
    [InlineData(BlockGuest.Discard, true)]
    [InlineData(BlockGuest.WriteZeroes, false)]
    [InlineData(BlockGuest.WriteZeroes, true)]
    public void Ranges_that_are_none_or_one_in_32_bits_are_an_io_error(uint type, bool oneMore)
    {
        const int Length = 512 << 20;
        const ulong Address = 1UL << 30;
        // The host gives pages of it when they are touched, which none is.
        nint large = Marshal.AllocHGlobal((nint)Length);
        try
        {
            using var guest = new BlockGuest(_image, new BlockOptions { QueueSize = 256 }, memory: new GuestRegion(Address, Length, large));
            ulong header = guest.Arena.AllocateFilled(BlockGuest.Header(type, 0)), flush = guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.Flush, 0));
            ulong range = guest.Arena.AllocateFilled(BlockGuest.Range(0, 1)), status = guest.Arena.AllocateFilled([BlockGuest.Untouched]);
            // 2³² ranges in 2³⁶ bytes, or one more: in 32 bits 0, or 1, which alone would be good.
            Element[] data = [.. oneMore ? [Element.Out(range, 16)] : Array.Empty<Element>(), .. Enumerable.Repeat(Element.Out(Address, Length), 128)];
            guest.Run(0, status, [Element.Out(header, 16), .. data, Element.In(status, 1)]).Should().Be(BlockGuest.IoError);
            _file.Calls.Should().BeEmpty();
            DiskIsUntouched();
            guest.Run(0, status, [Element.Out(flush, 16), .. data, Element.In(status, 1)]).Should().Be(BlockGuest.Ok, "it is not the memory that was wrong");
        }
        finally
        {
            Marshal.FreeHGlobal(large);
        }
    }

    [Fact]
    public void Range_larger_than_the_host_zeroes_at_a_time_is_an_io_error()
    {
        using var image = new NullImage(1UL << 50);
        using var guest = new BlockGuest(image);
        guest.Send(BlockGuest.WriteZeroes, 0, BlockGuest.Range(0, (1 << 20) / 512)).Should().Be(BlockGuest.Ok);
        guest.Send(BlockGuest.WriteZeroes, 0, BlockGuest.Range(0, (1 << 20) / 512 + 1)).Should().Be(BlockGuest.IoError);
        guest.Send(BlockGuest.Discard, 0, BlockGuest.Range(0, uint.MaxValue)).Should().Be(BlockGuest.IoError);
    }

    [Fact]
    public async Task Driver_that_rewrites_descriptors_and_headers_while_they_are_read_reaches_nothing_it_may_not()
    {
        using var stop = new CancellationTokenSource();
        var driver = (FakeSplitDriver)_guest.Drivers[0];
        ulong header = _guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.In, 0)), data = _guest.Arena.Allocate(1024), status = _guest.Arena.Allocate(1);
        // It never asks for anything but reads and flushes.
        var rewriter = Task.Run(() =>
        {
            var random = new Random(5);
            while (!stop.IsCancellationRequested)
            {
                int d = random.Next(3);
                driver.WriteDescriptor(d, random.Next(3) switch { 0 => header, 1 => data, _ => (ulong)random.NextInt64() },
                    random.Next(4) == 0 ? uint.MaxValue : (uint)random.Next(2048), random.Next(8), random.Next(5));
                _guest.Arena.Bytes(header, 1)[0] = (byte)(random.Next(2) * 4);
            }
        });
        for (int i = 0; i < 20_000; i++)
        {
            driver.WriteDescriptor(0, header, 16, 1, 1);
            driver.WriteDescriptor(1, data, 512, 3, 2);
            driver.WriteDescriptor(2, status, 1, 2, 0);
            driver.Offer(0);
            _guest.Transport.Notify(0);
            if (_guest.Device.NeedsReset)
            {
                driver.StartOver();
                _guest.Transport.Start(0, driver);
            }
        }

        await stop.CancelAsync();
        await rewriter.WaitAsync(TimeSpan.FromSeconds(30));
        DiskIsUntouched();
    }

    private static readonly Gen<(uint Type, ulong Sector, int Cut, int Length, bool Writable)[]> Requests =
        (from type in Gen.Elements(0u, 1u, 4u, 8u, 11u, 13u, 99u)
         from sector in Gen.OneOf(Gen.Choose(0, Sectors + 4).Select(s => (ulong)s), Gen.Elements(ulong.MaxValue, 1UL << 55, ulong.MaxValue / 512 + 1))
         from cut in Gen.Choose(0, 40)
         from length in Gen.OneOf(Gen.Elements(0, 16, 32, 512, 1024, 4096), Gen.Choose(0, 3000))
         from writable in Gen.Elements(true, false)
         select (type, sector, cut, length, writable)).ArrayOf(20);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Any_requests_in_any_pieces_do_to_the_disk_what_a_model_does(bool packed) =>
        Prop.ForAll(Requests.ToArbitrary(), requests =>
        {
            var file = new MemoryFile(Sectors * 512) { Asynchronous = _file.Asynchronous };
            using var image = new RawImage(file);
            using var guest = new BlockGuest(image, packed: packed);
            byte[] model = new byte[Sectors * 512];
            foreach (var (type, sector, cut, length, writable) in requests)
            {
                byte[] data = new byte[length];
                new Random(cut * 31 + length).NextBytes(data);
                if (type is 11 or 13 && length >= 16)
                    BlockGuest.Range(sector, (uint)cut).CopyTo(data, 0);
                ulong header = guest.Arena.AllocateFilled(BlockGuest.Header(type, sector)), at = guest.Arena.AllocateFilled(data), status = guest.Arena.AllocateFilled([BlockGuest.Untouched]);
                int first = Math.Min(cut, length);
                byte outcome = guest.Run(0, status, Element.Out(header, 5), Element.Out(header + 5, 11),
                    new Element(at, (uint)first, writable), new Element(at + (ulong)first, (uint)(length - first), writable), Element.In(status, 1));
                if (outcome == BlockGuest.Untouched)
                    return false;
                bool fits = length % 512 == 0 && sector <= Sectors && (ulong)length / 512 <= Sectors - sector;
                if (type == 1 && !writable)
                {
                    if (outcome != (fits ? BlockGuest.Ok : BlockGuest.IoError))
                        return false;
                    if (fits)
                        data.CopyTo(model, (int)sector * 512);
                }

                if (type == 0 && writable && outcome == BlockGuest.Ok
                    && (!fits || !guest.Arena.Bytes(at, length).SequenceEqual(model.AsSpan((int)sector * 512, length))))
                    return false;
                if (type is 11 or 13 && outcome == BlockGuest.Ok)
                    model.AsSpan((int)sector * 512, cut * 512).Clear();
                if (!file.Bytes.SequenceEqual(model))
                    return false;
            }

            return !guest.Device.NeedsReset;
        }).QuickCheckThrowOnFailure();
}

/// <inheritdoc/>
public sealed class SynchronousBlockHostileTests() : BlockHostileTests(asynchronous: false);

/// <inheritdoc/>
public sealed class AsynchronousBlockHostileTests() : BlockHostileTests(asynchronous: true);
