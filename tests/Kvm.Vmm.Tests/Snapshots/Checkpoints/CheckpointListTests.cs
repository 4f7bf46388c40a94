using Kvm.Devices.Memory;
using Kvm.Vmm.Snapshots.Checkpoints;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Tests.Snapshots.Checkpoints;

public sealed class CheckpointListTests : IDisposable
{
    private const int Pages = 32, PageSize = SnapshotFormat.PageSize;

    private readonly AlignedBuffer _ram = new(Pages * PageSize);
    private readonly GuestMemory _memory;

    public CheckpointListTests() => _memory = new GuestMemory([new GuestRegion(0, Pages * PageSize, _ram.Buffer.Address)]);

    public void Dispose() => _ram.Dispose();

    private static IEnumerable<ulong> All => Enumerable.Range(0, Pages).Select(AddressOf);

    private static ulong AddressOf(int page) => (ulong)page * PageSize;

    private static SnapshotRecord[] RecordOf(int value) => [new SnapshotRecord("x", 1, new[] { (byte)value })];

    [Theory]
    [InlineData(1, int.MaxValue)]
    [InlineData(2, 48 * PageSize)]
    [InlineData(3, Pages * PageSize)]
    public void Whatever_is_written_each_moment_that_is_left_is_gone_back_to_byte_for_byte(int seed, int budget)
    {
        var random = new Random(seed);
        var list = new CheckpointList((ulong)budget);
        var known = new Dictionary<long, byte[]>();
        var written = new HashSet<ulong>();
        Write(10);
        Take(All);
        for (int step = 0; step < 300; step++)
        {
            if (random.Next(4) > 0)
            {
                Write(random.Next(6));
                Take(written);
            }
            else
            {
                Write(random.Next(8));
                var moments = list.All.ToList();
                long to = moments[random.Next(moments.Count)].Number;
                list.GoBack(to, _memory, written)!.Should().ContainSingle().Which.Bytes.Span[0].Should().Be((byte)to);
                written.Clear();
                _ram.Buffer.Span.SequenceEqual(known[to]).Should().BeTrue($"moment {to} at step {step}");
                list.All.Last().Number.Should().Be(to, "what came after it is forgotten");
            }

            list.Bytes.Should().BeLessThanOrEqualTo((ulong)budget);
        }

        list.All.Should().NotBeEmpty();

        void Write(int pages)
        {
            for (int i = 0; i < pages; i++)
            {
                int page = random.Next(Pages);
                var span = _ram.Buffer.Span.Slice(page * PageSize, PageSize);
                if (random.Next(4) == 0)
                    span.Clear();
                else
                    span[random.Next(PageSize)] = (byte)random.Next(256);
                written.Add(AddressOf(page));
            }
        }

        void Take(IEnumerable<ulong> pages)
        {
            long number = known.Count == 0 ? 1 : known.Keys.Max() + 1;
            list.Add(_memory, [.. pages], DateTimeOffset.UnixEpoch, RecordOf((int)(number % 256))).Should().BeTrue();
            written.Clear();
            list.All.Last().Number.Should().Be(number);
            known[number] = _ram.Buffer.Span.ToArray();
        }
    }

    [Fact]
    public void A_budget_that_is_used_up_makes_the_oldest_two_one()
    {
        var list = new CheckpointList(4 * PageSize);
        for (int i = 0; i < 6; i++)
        {
            _ram.Buffer.Span[i % 2 * PageSize] = (byte)(i + 1);
            list.Add(_memory, i == 0 ? All : [AddressOf(i % 2)], DateTimeOffset.UnixEpoch, RecordOf(i)).Should().BeTrue();
        }

        list.All.Select(m => m.Number).Should().Equal(4, 5, 6);
        list.Bytes.Should().Be(4 * PageSize);
        list.GoBack(1, _memory, []).Should().BeNull();
        list.GoBack(4, _memory, []).Should().NotBeNull();
        (_ram.Buffer.Span[0], _ram.Buffer.Span[PageSize]).Should().Be((3, 4));
    }

    [Fact]
    public void More_memory_than_the_budget_is_told_and_nothing_is_kept()
    {
        var list = new CheckpointList(2 * PageSize);
        _ram.Buffer.Span.Fill(1);
        list.Add(_memory, All, DateTimeOffset.UnixEpoch, RecordOf(0)).Should().BeFalse();
        _ram.Buffer.Span.Clear();
        _ram.Buffer.Span[0] = 1;
        list.Add(_memory, All, DateTimeOffset.UnixEpoch, RecordOf(0)).Should().BeTrue();
        _ram.Buffer.Span.Fill(1);
        list.Add(_memory, All, DateTimeOffset.UnixEpoch, RecordOf(0)).Should().BeFalse();
        (list.Bytes, list.All.Count()).Should().Be((0, 0));
    }
}
