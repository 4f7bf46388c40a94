using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Block;
using Kvm.Devices.Tests.Block;
using Kvm.Devices.Virtio.Block;

namespace Kvm.Devices.Tests.Virtio.Block;

/// <summary>
/// A guest's requests over a host that interrupts, cuts short, is full and fails: what the guest is told is what happened, and what it was
/// promised is there after a crash of the host.
/// </summary>
public abstract class BlockFaultTests(bool asynchronous)
{
    private const int Requests = 60, Length = 1024;

    private static readonly Gen<(int Kind, int Other, int Fault)[]> Traffic =
        (from kind in Gen.Frequency((5, Gen.Constant(0)), (3, Gen.Constant(1)), (2, Gen.Constant(2)), (1, Gen.Constant(3)))
         from other in Gen.Choose(0, Requests - 1)
         from fault in Gen.Frequency((12, Gen.Constant(0)), (2, Gen.Constant(1)), (2, Gen.Constant(2)), (1, Gen.Constant(3)))
         select (kind, other, fault)).ArrayOf(Requests);

    [Theory]
    [InlineData(DiskCache.WriteBack, 1)]
    [InlineData(DiskCache.WriteThrough, 1)]
    [InlineData(DiskCache.WriteBack, 512)]
    [InlineData(DiskCache.None, 512)]
    public void Guest_is_told_of_every_fault_and_of_no_other_and_loses_nothing_it_was_promised(DiskCache cache, int alignment) =>
        Prop.ForAll(Traffic.ToArbitrary(), traffic =>
        {
            var file = new MemoryFile(Requests * Length, alignment) { Asynchronous = asynchronous };
            using var image = new RawImage(file);
            using var guest = new BlockGuest(image, new BlockOptions { Cache = cache });
            var model = new Model(guest, file, cache);
            file.Inject = (call, kind, bytes) => model.Fault(traffic[call % traffic.Length].Fault, call, kind, bytes, alignment);
            for (int i = 0; i < traffic.Length; i++)
            {
                if (!model.Step(i, traffic[i].Kind, traffic[i].Other) || !model.Holds())
                    return false;
            }

            return !guest.Device.NeedsReset;
        }).QuickCheckThrowOnFailure();

    [Theory]
    [InlineData(1)]
    [InlineData(512)]
    public void Guest_notices_nothing_of_interruptions_and_short_transfers(int alignment) =>
        Prop.ForAll(Traffic.ToArbitrary(), traffic =>
        {
            var file = new MemoryFile(Requests * Length, alignment) { Asynchronous = asynchronous };
            using var image = new RawImage(file);
            using var guest = new BlockGuest(image, new BlockOptions { Cache = DiskCache.WriteThrough });
            var model = new Model(guest, file, DiskCache.WriteThrough);
            file.Inject = (call, kind, bytes) => model.Fault(traffic[call % traffic.Length].Fault % 3, call, kind, bytes, alignment);
            for (int i = 0; i < traffic.Length; i++)
            {
                if (!model.Step(i, traffic[i].Kind, traffic[i].Other) || !model.Holds())
                    return false;
            }

            return guest.Device.Counters.Errors == 0;
        }).QuickCheckThrowOnFailure();

    /// <summary>
    /// Each request has a place of its own on the disk. A place's content is known, or nothing is known of it once a change of it failed; it is
    /// stable when it was flushed, and what is not is lost with the first flush that fails.
    /// </summary>
    private sealed class Model(BlockGuest guest, MemoryFile file, DiskCache cache)
    {
        private readonly byte?[] _content = Enumerable.Repeat((byte?)0, Requests).ToArray();
        private readonly bool[] _stable = Enumerable.Repeat(true, Requests).ToArray();
        private bool _failing;
        private bool _lost;

        private bool IsDurable => cache == DiskCache.WriteThrough;

        public HostFileResult? Fault(int fault, int call, FileCall kind, long bytes, int alignment)
        {
            // A file without a page cache cuts at its blocks only.
            long half = bytes / 2 / alignment * alignment;
            switch (fault)
            {
                case 1:
                    return new HostFileResult(0, HostFileError.Interrupted);
                case 2 when half > 0:
                    return new HostFileResult(half);
                case 3:
                    _failing = true;
                    if (kind == FileCall.Flush)
                        Lose();
                    return new HostFileResult(0, call % 2 == 0 ? HostFileError.NoSpace : HostFileError.Failed);
                default:
                    return null;
            }
        }

        public bool Step(int number, int kind, int other)
        {
            _failing = false;
            ulong here = (ulong)number * Length / 512, there = (ulong)other * Length / 512;
            switch (kind)
            {
                case 0:
                    byte[] data = new byte[Length];
                    Array.Fill(data, (byte)(number + 1));
                    return Changed(number, (byte)(number + 1), guest.Write(here, data));
                case 1:
                    byte[] read = new byte[Length];
                    byte outcome = guest.Read(there, read);
                    return Tells(outcome, _failing) && (outcome != BlockGuest.Ok || _content[other] is not { } content || read.AsSpan().IndexOfAnyExcept(content) < 0);
                case 2:
                    bool flushed = guest.Send(BlockGuest.Flush, 0, []) is var answer && answer == BlockGuest.Ok;
                    if (flushed)
                        Array.Fill(_stable, true);
                    return Tells(answer, _failing || _lost);
                default:
                    return Changed(other, 0, guest.Send(BlockGuest.WriteZeroes, 0, BlockGuest.Range(there, Length / 512)));
            }
        }

        /// <summary>What is known is in the file, and what is stable is there after a crash.</summary>
        public bool Holds()
        {
            for (int i = 0; i < Requests; i++)
            {
                if (_content[i] is { } content && (file.Bytes.Slice(i * Length, Length).IndexOfAnyExcept(content) >= 0
                    || (_stable[i] && file.Stable.Slice(i * Length, Length).IndexOfAnyExcept(content) >= 0)))
                    return false;
            }

            return true;
        }

        private static bool Tells(byte outcome, bool failed) => outcome == (failed ? BlockGuest.IoError : BlockGuest.Ok);

        private bool Changed(int place, byte content, byte outcome)
        {
            bool done = outcome == BlockGuest.Ok;
            _content[place] = done ? content : null;
            _stable[place] = done && IsDurable;
            if (done && IsDurable)
                Array.Fill(_stable, true);
            return Tells(outcome, _failing || (_lost && IsDurable));
        }

        private void Lose()
        {
            _lost = true;
            for (int i = 0; i < Requests; i++)
            {
                if (!_stable[i])
                    _content[i] = null;
            }
        }
    }
}

/// <inheritdoc/>
public sealed class SynchronousBlockFaultTests() : BlockFaultTests(asynchronous: false);

/// <inheritdoc/>
public sealed class AsynchronousBlockFaultTests() : BlockFaultTests(asynchronous: true);
