namespace Samples.Module;

/// <summary>A guest of a kernel with the module that was built for it.</summary>
public abstract class ModuleGuest : VmFixture
{
    /// <summary>The kernel's folder in <c>artifacts/guest/tally</c>, which <c>samples/module/build</c> makes.</summary>
    protected abstract string Kernel { get; }

    /// <summary>The kernel itself.</summary>
    protected abstract GuestImage Image { get; }

    protected override GuestOptions Options => new() { Name = Kernel, Image = Image, Modules = [Built("tally.ko")], MemoryBytes = 256 << 20 };

    /// <summary>A file of the folder; where it could not be built, the tests are skipped with the sentence that says so.</summary>
    protected string Built(string file)
    {
        string path = Path.Combine(GuestImage.Folder ?? "", "tally", Kernel, file);
        return Path.Exists(path) ? path : throw new GuestUnavailableException($"{file} was not built for the {Kernel} kernel: type samples/module/build, which needs Debian's packages");
    }
}

/// <summary>Debian's stable kernel, 6.1.</summary>
public sealed class StockGuest : ModuleGuest
{
    protected override string Kernel => "stock";

    protected override GuestImage Image => GuestImage.Stock;
}

/// <summary>Debian's newer kernel, 6.12.</summary>
public sealed class NewerGuest : ModuleGuest
{
    protected override string Kernel => "newer";

    protected override GuestImage Image =>
        new(Built("bzImage"), GuestImage.Small.InitrdPath) { ModulesPath = Directory.GetDirectories(Built("modules")).Single() };
}

/// <summary>What the module promises, whatever the kernel.</summary>
public abstract class TallyTests(ModuleGuest fixture)
{
    private Guest Guest => fixture.Guest;

    [VmFact]
    public async Task It_adds_up_what_is_written()
    {
        Assert.Equal("0", await SumAsync());
        await Guest.CheckAsync("sh", "-c", "echo 40 >/proc/tally; echo 5 >/proc/tally; echo -3 >/proc/tally");
        Assert.Equal("42", await SumAsync());
    }

    [VmFact]
    public async Task What_is_no_number_is_refused_and_changes_nothing()
    {
        Assert.Contains("Invalid argument", (await Guest.ExecAsync("sh", "-c", "echo many >/proc/tally")).Errors);
        Assert.Equal("0", await SumAsync());
    }

    [VmFact]
    public async Task When_it_is_unloaded_nothing_is_left_and_it_can_be_loaded_again()
    {
        await Guest.CheckAsync("sh", "-c", "echo 7 >/proc/tally; rmmod tally; [ ! -e /proc/tally ]");
        await Guest.CheckAsync("insmod", "/modules/tally.ko");
        Assert.Equal("0", await SumAsync());
    }

    private Task<string> SumAsync() => Guest.CheckAsync("cat", "/proc/tally");
}

/// <summary>With the stable kernel.</summary>
public sealed class StockTests(StockGuest fixture) : TallyTests(fixture), IClassFixture<StockGuest>;

/// <summary>With the newer kernel.</summary>
public sealed class NewerTests(NewerGuest fixture) : TallyTests(fixture), IClassFixture<NewerGuest>;
