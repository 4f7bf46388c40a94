using Kvm.Manager.Pools;
using Kvm.Vmm;

namespace Kvm.Manager.Tests.Pools;

public sealed class VolumeTests : IDisposable
{
    private const ulong Size = 64 << 20;

    private readonly TemporaryPool _files = new();

    public void Dispose() => _files.Dispose();

    [Fact]
    public void A_new_volume_takes_next_to_nothing_and_reads_as_zeros()
    {
        var pool = _files.Define();
        pool.Create(TemporaryPool.Name("web"), Size);
        TemporaryPool.Read(pool, "web", Size - 1).Should().Be(0);
        var state = pool.Inspect();
        state.Problems.Should().BeEmpty();
        state.Promised.Should().Be(Size);
        state.Real.Should().BeLessThan(1 << 20);
        state.Volumes.Should().ContainSingle().Which.Should().Match<VolumeState>(volume => volume.Name == "web" && volume.Size == Size && volume.References == 1 && volume.Files == 1);
        TemporaryPool.Refused(() => pool.Create(TemporaryPool.Name("web"), Size), "KVM0643", "p/web");
    }

    [Fact]
    public void A_clone_reads_as_its_source_and_neither_sees_what_the_other_writes()
    {
        var pool = _files.Define();
        pool.Create(TemporaryPool.Name("gold"), Size);
        TemporaryPool.Write(pool, "gold", 1 << 20, 7);
        pool.Clone(TemporaryPool.Name("gold"), TemporaryPool.Name("one"));
        pool.Clone(TemporaryPool.Name("gold"), TemporaryPool.Name("two"));
        TemporaryPool.Write(pool, "one", 1 << 20, 1);
        TemporaryPool.Write(pool, "gold", 2 << 20, 9);
        TemporaryPool.Read(pool, "one", 1 << 20).Should().Be(1);
        TemporaryPool.Read(pool, "two", 1 << 20).Should().Be(7);
        TemporaryPool.Read(pool, "two", 2 << 20).Should().Be(0);
        TemporaryPool.Read(pool, "gold", 1 << 20).Should().Be(7);
        pool.Inspect().Problems.Should().BeEmpty();
        // Once it was written again it is another thing to be based on.
        pool.Clone(TemporaryPool.Name("gold"), TemporaryPool.Name("three"));
        TemporaryPool.Read(pool, "three", 2 << 20).Should().Be(9);
    }

    [Fact]
    public void A_file_that_others_are_based_on_stays_until_nobody_is()
    {
        var pool = _files.Define();
        pool.Create(TemporaryPool.Name("gold"), Size);
        TemporaryPool.Write(pool, "gold", 0, 7);
        pool.Clone(TemporaryPool.Name("gold"), TemporaryPool.Name("one"));
        pool.Clone(TemporaryPool.Name("one"), TemporaryPool.Name("two"));
        pool.Remove(TemporaryPool.Name("gold"));
        pool.Remove(TemporaryPool.Name("one"));
        TemporaryPool.Read(pool, "two", 0).Should().Be(7);
        pool.Remove(TemporaryPool.Name("two"));
        Files().Should().BeEmpty();
        pool.Inspect().Should().Match<PoolState>(state => state.Promised == 0 && state.Real == 0 && state.Problems.Count == 0);
    }

    [Fact]
    public void A_volume_is_set_back_to_a_snapshot_as_often_as_one_likes()
    {
        var pool = _files.Define();
        pool.Create(TemporaryPool.Name("web"), Size);
        TemporaryPool.Write(pool, "web", 0, 1);
        pool.Snapshot(TemporaryPool.Name("web@good"));
        for (byte i = 2; i < 5; i++)
        {
            TemporaryPool.Write(pool, "web", 0, i);
            pool.Restore(TemporaryPool.Name("web@good"));
            TemporaryPool.Read(pool, "web", 0).Should().Be(1);
        }

        TemporaryPool.Read(pool, "web@good", 0).Should().Be(1);
        TemporaryPool.Refused(() => pool.Remove(TemporaryPool.Name("web")), "KVM0651", "web@good");
        TemporaryPool.Refused(() => pool.Snapshot(TemporaryPool.Name("web@good")), "KVM0643", "web@good");
        pool.Clone(TemporaryPool.Name("web@good"), TemporaryPool.Name("other"));
        pool.Remove(TemporaryPool.Name("web"), force: true);
        TemporaryPool.Read(pool, "other", 0).Should().Be(1);
    }

    [Fact]
    public void Sizes_change_and_what_would_be_lost_is_refused_unless_it_may_be()
    {
        var pool = _files.Define();
        pool.Create(TemporaryPool.Name("web"), Size);
        pool.Resize(TemporaryPool.Name("web"), old => old * 2, shrink: false).Should().Be(2 * Size);
        TemporaryPool.Refused(() => pool.Resize(TemporaryPool.Name("web"), _ => Size, shrink: false), "KVM0651", "--shrink");
        pool.Resize(TemporaryPool.Name("web"), _ => Size, shrink: true);
        pool.Snapshot(TemporaryPool.Name("web@small"));
        pool.Resize(TemporaryPool.Name("web"), old => old + 1, shrink: false).Should().Be(Size + 512);
        pool.Inspect().Volumes.Should().Contain(volume => volume.Name == "web" && volume.Size == Size + 512);
        pool.Restore(TemporaryPool.Name("web@small"));
        pool.Inspect().Should().Match<PoolState>(state => state.Problems.Count == 0 && state.Volumes[0].Size == Size);
    }

    [Fact]
    public void A_quota_is_met_exactly()
    {
        var pool = _files.Define(quota: 2 * Size);
        pool.Create(TemporaryPool.Name("one"), Size - 512);
        TemporaryPool.Refused(() => pool.Create(TemporaryPool.Name("two"), Size + 513), "KVM0647", $"{Size + 1024} bytes more, and {Size - 512} of {2 * Size}");
        pool.Create(TemporaryPool.Name("two"), Size + 512);
        TemporaryPool.Refused(() => pool.Create(TemporaryPool.Name("three"), 1), "KVM0647", "512 bytes more");
        TemporaryPool.Refused(() => pool.Resize(TemporaryPool.Name("one"), old => old + 512, shrink: false), "KVM0647", "512 bytes more");
        TemporaryPool.Refused(() => pool.Clone(TemporaryPool.Name("one"), TemporaryPool.Name("four")), "KVM0647", "");
        TemporaryPool.Refused(() => _files.Store.Define("p", [], Size), "KVM0647", "promised already");
        pool.Remove(TemporaryPool.Name("two"));
        pool.Inspect().Promised.Should().Be(Size - 512);
        pool.Create(TemporaryPool.Name("three"), Size + 512);
    }

    [Fact]
    public void What_a_snapshot_holds_counts_as_promised()
    {
        var pool = _files.Define(quota: Size + (1 << 20));
        pool.Create(TemporaryPool.Name("one"), Size);
        TemporaryPool.Write(pool, "one", 0, 1, 2 << 20);
        TemporaryPool.Refused(() => pool.Snapshot(TemporaryPool.Name("one@full")), "KVM0647", "");
        pool.Resize(TemporaryPool.Name("one"), _ => 1 << 20, shrink: true);
        pool.Snapshot(TemporaryPool.Name("one@less"));
        pool.Inspect().Promised.Should().BeInRange(2 << 20, (2 << 20) + (64 << 10));
    }

    [Fact]
    public void What_a_guest_has_is_neither_cloned_nor_changed_nor_removed()
    {
        var pool = _files.Define();
        pool.Create(TemporaryPool.Name("web"), Size);
        pool.Snapshot(TemporaryPool.Name("web@old"));
        using (TemporaryPool.Disk(pool, "web", readOnly: false))
        {
            foreach (var action in (Action[])[() => pool.Clone(TemporaryPool.Name("web"), TemporaryPool.Name("two")), () => pool.Snapshot(TemporaryPool.Name("web@new")), () => pool.Restore(TemporaryPool.Name("web@old")),
                () => pool.Remove(TemporaryPool.Name("web"), force: true), () => pool.Resize(TemporaryPool.Name("web"), old => old * 2, shrink: false), () => _files.Store.Remove("p", force: true)])
                TemporaryPool.Refused(action, "KVM0648", "a guest has it");
            // What it is based on is nobody's to write, and everybody's to read.
            pool.Clone(TemporaryPool.Name("web@old"), TemporaryPool.Name("two"));
            pool.Remove(TemporaryPool.Name("web@old"));
            TemporaryPool.Read(pool, "two", 0).Should().Be(0);
        }

        pool.Inspect().Problems.Should().BeEmpty();
    }

    [Fact]
    public void A_chain_does_not_grow_without_end()
    {
        var pool = _files.Define();
        pool.Create(TemporaryPool.Name("web"), Size);
        int made = 0;
        var error = FluentActions.Invoking(() =>
        {
            for (; made < 100; made++)
            {
                TemporaryPool.Write(pool, "web", 0, (byte)made);
                pool.Snapshot(TemporaryPool.Name($"web@s{made}"));
            }
        }).Should().Throw<VmmException>().Which;
        error.Error.Id.Should().Be("KVM0651");
        made.Should().Be(VolumePool.MostFiles - 1);
        TemporaryPool.Read(pool, "web", 0).Should().Be((byte)made);
        TemporaryPool.Read(pool, "web@s3", 0).Should().Be(3);
    }

    private IEnumerable<string> Files() => Directory.GetFiles(_files.Folder()).Select(Path.GetFileName).Where(name => name![0] != '.')!;
}
