namespace Kvm.Web.Tests;

/// <summary>Writes the pictures of the documents, where somebody asks for them (scripts/screenshots).</summary>
public class ScreenshotTests
{
    [SkippableFact]
    public async Task The_address_that_was_given_is_photographed_in_light_and_dark()
    {
        string? address = Environment.GetEnvironmentVariable("KVMSHARP_PHOTOGRAPH"), to = Environment.GetEnvironmentVariable("KVMSHARP_PHOTOGRAPH_TO");
        Skip.If(address is null || to is null, "for scripts/screenshots");
        await using var chromium = await Chromium.Start();
        var tab = await chromium.Open(address!, height: 960);
        await tab.Until("document.readyState === 'complete'");
        foreach (string step in (Environment.GetEnvironmentVariable("KVMSHARP_PHOTOGRAPH_DO") ?? "").Split(';', StringSplitOptions.RemoveEmptyEntries))
        {
            if (step.StartsWith("until ", StringComparison.Ordinal))
                await tab.Until(step["until ".Length..]);
            else if (step.StartsWith("type ", StringComparison.Ordinal))
                await tab.Type(step["type ".Length..]);
            else if (step == "press Space")
                await tab.Press(" ");
            else if (step.StartsWith("press ", StringComparison.Ordinal))
                await tab.Press(step["press ".Length..]);
        }

        foreach (bool dark in (bool[])[false, true])
        {
            await tab.SetDark(dark);
            // Charts are drawn anew a moment later.
            await tab.Evaluate("new Promise(done => setTimeout(() => requestAnimationFrame(() => done(true)), 400))");
            await tab.Screenshot($"{to}-{(dark ? "dark" : "light")}.png");
        }

        chromium.Errors.Should().BeEmpty();
    }
}
