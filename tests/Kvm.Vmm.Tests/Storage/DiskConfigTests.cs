using Kvm.Devices.Block.Scheduling;
using Kvm.Devices.Limits;
using Kvm.Devices.Virtio.Block;
using Kvm.Vmm.Storage;

namespace Kvm.Vmm.Tests.Storage;

public class DiskConfigTests
{
    [Fact]
    public void Every_part_is_understood()
    {
        DiskConfig.Parse("/d.img,readonly,root,format=raw,cache=none,aio=uring,queues=16,id=a-b_c.d", out var disk).Should().BeNull();
        disk.Should().Be(new DiskConfig { Path = "/d.img", ReadOnly = true, IsRoot = true, Cache = DiskCache.None, Aio = DiskAio.Uring, Queues = 16, Id = "a-b_c.d" });
        DiskConfig.Parse("x,ro", out disk).Should().BeNull();
        disk.ReadOnly.Should().BeTrue();
        disk.Aio.Should().Be(DiskAio.Threads);
        DiskConfig.Parse("x,aio=threads", out disk).Should().BeNull();
        disk.Aio.Should().Be(DiskAio.Threads);
    }

    [Theory]
    [InlineData("x", DiskFormat.Raw)]
    [InlineData("x,format=qcow2", DiskFormat.Qcow2)]
    [InlineData("x.qcow2", DiskFormat.Qcow2)]
    [InlineData("x.QCOW2,ro", DiskFormat.Qcow2)]
    [InlineData("x.qcow2,format=raw", DiskFormat.Raw)]
    public void Format_is_what_is_said_or_else_what_the_name_says(string text, DiskFormat format)
    {
        DiskConfig.Parse(text, out var disk).Should().BeNull();
        disk.Format.Should().Be(format);
        disk.AllowBacking.Should().BeFalse();
        DiskConfig.Parse(text + ",backing=allow", out disk).Should().BeNull();
        disk.AllowBacking.Should().BeTrue();
    }

    [Fact]
    public void Limits_are_taken_in_any_order()
    {
        DiskConfig.Parse("x,iops-burst=50,bps=2M,iops=1000,bps-burst=1MiB", out var disk).Should().BeNull();
        disk.Limits.Should().Be(new IoLimits(new RateLimit(1 << 20, 500_000_000), new RateLimit(50, 50_000_000)));
        DiskConfig.Parse("x,iops=10", out disk).Should().BeNull();
        disk.Limits.Should().Be(new IoLimits(null, new RateLimit(1, 100_000_000)));
    }

    [Fact]
    public void Schedulers_and_caches_are_understood()
    {
        DiskConfig.Parse("x,scheduler=fair,weight=7,aio=uring", out var disk).Should().BeNull();
        (disk.Scheduler, disk.Weight).Should().Be((IoDiscipline.Fair, 7));
        DiskConfig.Parse("x,scheduler=deadline,aio=uring", out disk).Should().BeNull();
        disk.Scheduler.Should().Be(IoDiscipline.Deadline);
        DiskConfig.Parse("x,scheduler=none", out disk).Should().BeNull();
        DiskConfig.Parse("x.qcow2,backing=allow,cache-size=64M", out disk).Should().BeNull();
        disk.CacheBytes.Should().Be(64 << 20);
    }

    [Theory]
    [InlineData("writeback", DiskCache.WriteBack)]
    [InlineData("writethrough", DiskCache.WriteThrough)]
    [InlineData("none", DiskCache.None)]
    [InlineData("unsafe", DiskCache.Unsafe)]
    public void Cache_modes_have_these_names(string name, DiskCache cache)
    {
        DiskConfig.Parse("x,cache=" + name, out var disk).Should().BeNull();
        disk.Cache.Should().Be(cache);
    }

    [Theory]
    [InlineData("a,,b.img", "a,b.img")]
    [InlineData(",,,,", ",,")]
    [InlineData("a,,,ro", "a,")]
    public void Doubled_commas_belong_to_the_name(string text, string path)
    {
        DiskConfig.Parse(text, out var disk).Should().BeNull();
        disk.Path.Should().Be(path);
    }

    [Theory]
    [InlineData("", "names no file")]
    [InlineData(",ro", "names no file")]
    [InlineData("x,", "has the part")]
    [InlineData("x,rw", "has the part")]
    [InlineData("x,cache", "has the part")]
    [InlineData("x,cache=", "cache mode")]
    [InlineData("x,cache=WriteBack", "cache mode")]
    [InlineData("x,aio=native", "aio engine")]
    [InlineData("x,queues=0", "1 to 16")]
    [InlineData("x,queues=17", "1 to 16")]
    [InlineData("x,queues=-1", "has the part")]
    [InlineData("x,queues=", "has the part")]
    [InlineData("x,format=vmdk", "not one of raw, qcow2")]
    [InlineData("x,backing=yes", "has the part")]
    [InlineData("x,scheduler=cfq,aio=uring", "has the scheduler")]
    [InlineData("x,scheduler=fair", "without aio=uring")]
    [InlineData("x,readonly,cache-size=1", "whole MiB")]
    [InlineData("x,readonly,cache-size=65G", "has the part")]
    [InlineData("x,cache-size=1M", "only read")]
    [InlineData("x,readonly,aio=uring,cache-size=1M", "only read")]
    [InlineData("x,weight=0", "weights are 1 to 1000")]
    [InlineData("x,weight=1001", "weights are 1 to 1000")]
    [InlineData("x,bps=", "has the limit")]
    [InlineData("x,bps=0", "has the limit")]
    [InlineData("x,bps=fast", "has the limit")]
    [InlineData("x,bps=1025T", "has the limit")]
    [InlineData("x,iops=10K", "has the limit")]
    [InlineData("x,iops=-1", "has the limit")]
    [InlineData("x,iops=0", "has the limit")]
    [InlineData("x,iops", "has the part")]
    [InlineData("x,bps-burst=1M", "without bps")]
    [InlineData("x,bps=1M,iops-burst=5", "without iops")]
    [InlineData("x,id=", "has the id")]
    [InlineData("x,id=a b", "has the id")]
    [InlineData("x,id=123456789012345678901", "has the id")]
    public void What_is_wrong_is_said(string text, string part) => DiskConfig.Parse(text, out _).Should().Contain(part);
}
